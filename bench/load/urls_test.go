package load

import (
	"math"
	"slices"
	"strings"
	"testing"
)

func TestReadURLs(t *testing.T) {
	const list = "# of a site\n\nhttps://www.example.org/a\r\n  https://www.example.org/b?c=d  \nhttps://www.example.org\n"
	all, err := ReadURLs(strings.NewReader(list), "list")
	var got []string
	for _, u := range all {
		got = append(got, u.String())
	}
	if want := []string{"https://www.example.org/a", "https://www.example.org/b?c=d", "https://www.example.org/"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("read %q, %v; want %q", got, err, want)
	}
	for text, want := range map[string]string{
		"":                                   "list: no URL in it; write one a line",
		"# nothing":                          "list: no URL in it",
		list + "x y":                         `list:6: "x y" cannot be asked for; write https://HOST[:PORT]/PATH`,
		list + "https://www.example.org/%zz": "list:6: \"https://www.example.org/%zz\" is no URL: invalid URL escape",
		list + "https://[::1/":               "list:6:",
		list + "ftp://www.example.org/":      "list:6: \"ftp://www.example.org/\" cannot be asked for",
		list + "https://me:secret@www.example.org/":                                                       "cannot be asked for",
		list + "https://www.example.org/#part":                                                            "cannot be asked for",
		list + "https://www.example.org:0/":                                                               "port 0: want 1 to 65535",
		list + "https://www.example.org:70000/":                                                           "port 70000",
		list + "http://www.example.org/":                                                                  "list:6: http://www.example.org/ is of another scheme, host or port",
		list + "https://other.example.org/":                                                               "is of another scheme, host or port than the first",
		list + "https://www.example.org/" + strings.Repeat("x", 2*maxLine):                                "list:6: a line of more than 8192 bytes",
		"https://www.example.org/\n" + strings.Repeat("#"+strings.Repeat("x", 7998)+"\n", maxList/8000+1): "a list of more than 64 MiB",
	} {
		if all, err := ReadURLs(strings.NewReader(text), "list"); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.60q: %d URLs, %v; want %q", text, len(all), err, want)
		}
	}
}

func FuzzReadURLs(f *testing.F) {
	f.Add("https://a/\nhttps://a/b c\n#\n")
	f.Add("http://[::1]:80/?\nhttp://[::1]:80")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := ReadURLs(strings.NewReader(text), "list")
		if err == nil && len(all) == 0 {
			t.Error("no URLs and no error")
		}
		for _, u := range all {
			if again, err := ParseURL(u.String()); err != nil || sameSite(again, all[0]) != nil {
				t.Errorf("%v cannot be read again: %v", u, err)
			}
		}
	})
}

// TestPopularity counts what is asked for, against Zipf's law. The seed is fixed, so the counts are.
func TestPopularity(t *testing.T) {
	const things, draws = 1000, 400_000
	for _, exponent := range []float64{0.5, 0.9, 1, 1.5} {
		p := newPopularity(things, exponent, 1)
		count := make([]float64, things)
		for i := range int64(draws) {
			count[p.at(i)]++
		}
		sum, chi := 0.0, 0.0
		for k := range things {
			sum += math.Pow(float64(k+1), -exponent)
		}
		for k := range things {
			want := draws * math.Pow(float64(k+1), -exponent) / sum
			chi += (count[k] - want) * (count[k] - want) / want
		}
		// The sum is distributed as chi-square of 999: mean 999, deviation 44.7.
		if z := (chi - (things - 1)) / math.Sqrt(2*(things-1)); math.Abs(z) > 4 {
			t.Errorf("exponent %v: chi-square %.0f of %d, %.1f deviations off; the first three came %v times", exponent, chi, things-1, z, count[:3])
		}
	}
	in := newPopularity(3, 0, 1)
	for i, want := range []int{0, 1, 2, 0, 1} {
		if got := in.at(int64(i)); got != want {
			t.Errorf("in turn: request %d is for %d", i, got)
		}
	}
	one, same, other := newPopularity(things, 1, 1), newPopularity(things, 1, 1), newPopularity(things, 1, 2)
	differ := 0
	for i := range int64(100) {
		if one.at(i) != same.at(i) {
			t.Fatalf("request %d is for another with the same seed", i)
		}
		if one.at(i) != other.at(i) {
			differ++
		}
	}
	if differ < 50 {
		t.Errorf("%d of 100 requests differ with another seed", differ)
	}
}
