package trace

import (
	"math"
	"math/rand/v2"
	"sort"
	"strconv"
	"time"
)

// synthetic makes a trace of requests over so many objects by Zipf's law, a tenth of them for what nobody asks for again, a second
// apart. Objects have 200 bytes to 50 kB.
func synthetic(requests, objects int) *Trace {
	random := rand.New(rand.NewPCG(3, 4))
	sums := make([]float64, objects)
	for i := range sums {
		sums[i] = math.Pow(float64(i+1), -0.9)
		if i > 0 {
			sums[i] += sums[i-1]
		}
	}
	t := &Trace{File: "synthetic"}
	at := map[int]uint32{}
	for n := range requests {
		name := sort.SearchFloat64s(sums, random.Float64()*sums[objects-1])
		if random.IntN(10) == 0 {
			name = objects + n
		}
		o, ok := at[name]
		if !ok {
			o = uint32(len(t.sizes))
			at[name] = o
			size := 200 + random.Int64N(1<<(8+random.Int64N(8)))
			t.keys, t.sizes = append(t.keys, strconv.Itoa(name)), append(t.sizes, size)
			t.unique += size
		}
		t.add(o, time.Duration(n)*time.Second)
	}
	return t
}
