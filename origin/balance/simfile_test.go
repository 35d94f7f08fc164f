package balance

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// script is a .sim file: what instances do, what is asked of them, what must come of it.
type script struct {
	name  string
	set   Config
	load  load
	each  []scripted // instances at the beginning, and those added later
	check *checks
	at    []change
	run   time.Duration
	retry bool
	wants []want
	bites []bite
}

// load is what clients do.
type load struct {
	rate     float64 // requests per second, at moments by chance
	paths    []sizedPath
	keys     int  // hash algorithms get one of so many, the first far more often; 0 = no hash
	clients  int  // so many, each with a cookie; 0 = no affinity
	affinity bool // cookies are looked at
}

type sizedPath struct {
	path  string
	bytes int64
}

// scripted is an instance that does as it is told. It answers in latency, a jitter more or less, places at once; the rest
// wait inside it.
type scripted struct {
	id              string
	latency, jitter time.Duration
	places          int
	status          int
	bytes           int64   // of any answer; -1 = as the path has
	fail            float64 // share of answers with status 500
	hang, down      bool    // never answers; refuses connections
	weight, group   int
	later           bool // not there at the beginning
	failsChecks     bool
}

type checks struct {
	interval   time.Duration
	fall, rise int
}

// change is what happens to an instance at a time.
type change struct {
	at          time.Duration
	id          string
	words       []string
	gone, added bool
}

// want is what must be so between two times.
type want struct {
	line       int
	algorithms []string // nil = all
	from, to   time.Duration
	metric     string // share, errors, moved
	id         string // of share
	less       bool
	than       float64 // 0 to 1
}

// bite is what must be so without the guard, or with other settings: so the script is known to bite.
type bite struct {
	want
	with []string // settings; nil = no guard
}

func readScript(file string) (*script, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return parseScript(filepath.Base(file), string(text))
}

func parseScript(name, text string) (*script, error) {
	s := &script{name: name, set: asInFile(), load: load{rate: 100, affinity: true}}
	for n, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		if words := strings.Fields(line); len(words) > 0 {
			if err := s.parse(n+1, words[0], words[1:]); err != nil {
				return nil, fmt.Errorf("%s:%d: %w", name, n+1, err)
			}
		}
	}
	switch {
	case len(s.each) == 0 || s.run == 0:
		return nil, fmt.Errorf("%s: no instance, or nothing is run", name)
	case len(s.wants) == 0 || len(s.bites) == 0:
		return nil, fmt.Errorf("%s: a script without a want or without a bite shows nothing", name)
	}
	for _, w := range s.wants {
		if err := s.known(w); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, w.line, err)
		}
	}
	for _, b := range s.bites {
		if err := s.known(b.want); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, b.line, err)
		}
	}
	return s, nil
}

func (s *script) find(id string) *scripted {
	if n := slices.IndexFunc(s.each, func(i scripted) bool { return i.id == id }); n >= 0 {
		return &s.each[n]
	}
	return nil
}

func (s *script) known(w want) error {
	if w.to > s.run || w.from >= w.to {
		return fmt.Errorf("%v..%v is no part of %v", w.from, w.to, s.run)
	}
	if w.metric == "share" && s.find(w.id) == nil {
		return fmt.Errorf("no instance %s", w.id)
	}
	return nil
}

func (s *script) parse(line int, keyword string, words []string) error {
	switch keyword {
	case "expect", "set", "load":
		return each(words, func(word string) error { return s.setting(word) })
	case "check":
		s.check = &checks{interval: 5 * time.Second, fall: 3, rise: 2}
		return each(words, s.parseCheck)
	case "instance", "later":
		if len(words) == 0 || s.find(words[0]) != nil {
			return fmt.Errorf("%s wants a new name", keyword)
		}
		i := scripted{id: words[0], latency: 20 * time.Millisecond, places: 64, status: 200, bytes: -1, weight: 1, later: keyword == "later"}
		err := each(words[1:], i.tell)
		s.each = append(s.each, i)
		return err
	case "at":
		if len(words) < 3 || s.find(words[1]) == nil {
			return fmt.Errorf("at wants a time, an instance and what happens")
		}
		at, err := time.ParseDuration(words[0])
		c := change{at: at, id: words[1]}
		for _, word := range words[2:] {
			switch word {
			case "gone":
				c.gone = true
			case "added":
				c.added = true
			default:
				c.words = append(c.words, word)
			}
		}
		if err == nil {
			err = each(c.words, new(scripted).tell)
		}
		s.at = append(s.at, c)
		return err
	case "run":
		if len(words) == 0 {
			return fmt.Errorf("run wants a time")
		}
		var err error
		if s.run, err = time.ParseDuration(words[0]); err == nil && (s.run <= 0 || s.run > 10*time.Minute) {
			err = fmt.Errorf("%v cannot be run", s.run)
		}
		s.retry = slices.Contains(words, "retry")
		return err
	case "want":
		w, err := s.parseWant(line, words)
		s.wants = append(s.wants, w)
		return err
	case "for":
		if len(words) < 2 || words[1] != "want" {
			return fmt.Errorf("for wants algorithms and a want")
		}
		w, err := s.parseWant(line, words[2:])
		w.algorithms = strings.Split(words[0], ",")
		for _, a := range w.algorithms {
			if !slices.Contains(Algorithms(), a) {
				return fmt.Errorf("no algorithm %s", a)
			}
		}
		s.wants = append(s.wants, w)
		return err
	case "bite":
		if len(words) < 2 || !slices.Contains(Algorithms(), words[0]) {
			return fmt.Errorf("bite wants an algorithm and what must be so")
		}
		b, rest := bite{}, words[1:]
		if rest[0] == "with" {
			for rest = rest[1:]; len(rest) > 0 && strings.Contains(rest[0], "="); rest = rest[1:] {
				b.with = append(b.with, rest[0])
			}
			if err := each(b.with, new(script).setting); err != nil {
				return err
			}
		}
		var err error
		b.want, err = s.parseWant(line, rest)
		b.algorithms = words[:1]
		s.bites = append(s.bites, b)
		return err
	}
	return fmt.Errorf("no keyword %s", keyword)
}

func each(words []string, do func(string) error) error {
	for _, word := range words {
		if err := do(word); err != nil {
			return fmt.Errorf("%s: %w", word, err)
		}
	}
	return nil
}

// setting is a key of the balance part of a network file, or of the load.
func (s *script) setting(word string) (err error) {
	key, value, _ := strings.Cut(word, "=")
	number := func(to *int) {
		if *to, err = strconv.Atoi(value); err == nil && (*to < 0 || *to > 1e6) {
			err = fmt.Errorf("%s is out of bounds", value)
		}
	}
	duration := func(to *time.Duration) {
		if *to, err = time.ParseDuration(value); err == nil && *to < 0 {
			err = fmt.Errorf("%s is out of bounds", value)
		}
	}
	switch key {
	case "slow_start":
		duration(&s.set.SlowStart)
	case "eject.time":
		duration(&s.set.Eject.Time)
	case "eject.max_time":
		duration(&s.set.Eject.MaxTime)
	case "eject.consecutive":
		number(&s.set.Eject.Consecutive)
	case "eject.max_percent":
		number(&s.set.Eject.MaxPercent)
	case "eject.panic_percent":
		number(&s.set.Eject.PanicPercent)
	case "min_bytes":
		s.set.Expect.MinBytes, err = strconv.ParseInt(value, 10, 64)
	case "min_ratio":
		s.set.Expect.MinRatio, err = strconv.ParseFloat(value, 64)
	case "rate":
		if s.load.rate, err = strconv.ParseFloat(value, 64); err == nil && !(s.load.rate > 0 && s.load.rate <= 1e5) {
			err = fmt.Errorf("%s is out of bounds", value)
		}
	case "path":
		path, bytes, _ := strings.Cut(value, ":")
		var n int64
		n, err = strconv.ParseInt(bytes, 10, 64)
		s.load.paths = append(s.load.paths, sizedPath{path, n})
	case "keys":
		number(&s.load.keys)
	case "clients":
		number(&s.load.clients)
	case "affinity":
		s.load.affinity = value == "on"
	default:
		return fmt.Errorf("no such key")
	}
	return err
}

func (s *script) parseCheck(word string) (err error) {
	key, value, _ := strings.Cut(word, "=")
	switch key {
	case "interval":
		if s.check.interval, err = time.ParseDuration(value); err == nil && s.check.interval < time.Millisecond {
			err = fmt.Errorf("too often")
		}
	case "fall":
		s.check.fall, err = strconv.Atoi(value)
	case "rise":
		s.check.rise, err = strconv.Atoi(value)
	default:
		return fmt.Errorf("no such key")
	}
	return err
}

// tell changes what an instance does.
func (i *scripted) tell(word string) (err error) {
	key, value, _ := strings.Cut(word, "=")
	number := func(to *int) {
		if *to, err = strconv.Atoi(value); err == nil && (*to < 0 || *to > 1e6) {
			err = fmt.Errorf("%s is out of bounds", value)
		}
	}
	switch key {
	case "latency":
		i.latency, err = time.ParseDuration(value)
	case "jitter":
		i.jitter, err = time.ParseDuration(value)
	case "places":
		if number(&i.places); err == nil && i.places == 0 {
			err = fmt.Errorf("nothing is ever answered")
		}
	case "status":
		number(&i.status)
	case "bytes":
		i.bytes, err = strconv.ParseInt(value, 10, 64)
	case "fail":
		i.fail, err = strconv.ParseFloat(value, 64)
	case "hang":
		i.hang = true
	case "down":
		i.down = true
	case "up":
		i.hang, i.down = false, false
	case "weight":
		number(&i.weight)
	case "group":
		number(&i.group)
	case "checks":
		i.failsChecks = value == "fail"
	default:
		return fmt.Errorf("no such key")
	}
	return err
}

// parseWant reads [FROM..TO] share NAME|errors|moved <|> N%. Without times all of the run counts.
func (s *script) parseWant(line int, words []string) (w want, err error) {
	w.line, w.to = line, s.run
	if len(words) > 0 {
		if from, to, ok := strings.Cut(words[0], ".."); ok {
			if w.from, err = time.ParseDuration(from); err != nil {
				return w, err
			}
			if w.to, err = time.ParseDuration(to); err != nil {
				return w, err
			}
			words = words[1:]
		}
	}
	if len(words) == 4 && words[0] == "share" {
		w.id, words = words[1], slices.Delete(slices.Clone(words), 1, 2)
		w.metric = "share"
	} else if len(words) == 3 && (words[0] == "errors" || words[0] == "moved") {
		w.metric = words[0]
	} else {
		return w, fmt.Errorf("wants [FROM..TO] and share NAME, errors or moved, then < or >, then N%%, after run")
	}
	percent, ok := strings.CutSuffix(words[2], "%")
	if !ok || words[1] != "<" && words[1] != ">" {
		return w, fmt.Errorf("%s %s is no comparison with a percentage", words[1], words[2])
	}
	w.less = words[1] == "<"
	w.than, err = strconv.ParseFloat(percent, 64)
	w.than /= 100
	return w, err
}

func TestScriptRefuses(t *testing.T) {
	const good = "instance a\nrun 10s\nwant share a > 1%\nbite random share a > 1%\n"
	if _, err := parseScript("s.sim", good); err != nil {
		t.Fatal(err)
	}
	for text, wrong := range map[string]string{
		"":                                       "s.sim: no instance",
		"instance a\nrun 10s\n":                  "s.sim: a script without a want",
		good + "walk 5s":                         "s.sim:5: no keyword walk",
		good + "instance a":                      "s.sim:5: instance wants a new name",
		good + "instance b colour=red":           "s.sim:5: colour=red: no such key",
		good + "instance b places=0":             "s.sim:5: places=0: nothing is ever",
		good + "set eject.never=1":               "s.sim:5: eject.never=1: no such key",
		good + "set eject.max_percent=-1":        "s.sim:5: eject.max_percent=-1: -1 is out of bounds",
		good + "load rate=0":                     "s.sim:5: rate=0: 0 is out of bounds",
		good + "at 5s z down":                    "s.sim:5: at wants a time, an instance",
		good + "at soon a down":                  "s.sim:5: time: invalid duration",
		good + "check interval=0s":               "s.sim:5: interval=0s: too often",
		good + "run 1h":                          "s.sim:5: 1h0m0s cannot be run",
		good + "want share z > 1%":               "s.sim:5: no instance z",
		good + "want 5s..20s errors > 1%":        "s.sim:5: 5s..20s is no part of 10s",
		good + "want errors > 1":                 "s.sim:5: > 1 is no comparison",
		good + "want luck > 1%":                  "s.sim:5: wants [FROM..TO]",
		good + "for luck want errors > 1%":       "s.sim:5: no algorithm luck",
		good + "bite luck errors > 1%":           "s.sim:5: bite wants an algorithm",
		good + "bite random with x=1 errors >1%": "s.sim:5: x=1: no such key",
	} {
		if _, err := parseScript("s.sim", text); err == nil || !strings.HasPrefix(err.Error(), wrong) {
			t.Errorf("%q: %v, want %s", text, err, wrong)
		}
	}
}

// FuzzScript wants an error or a script that can be run for a moment.
func FuzzScript(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.sim")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseScript("fuzz.sim", text)
		if err != nil {
			return
		}
		s.run, s.load.rate = min(s.run, 100*time.Millisecond), min(s.load.rate, 100)
		newSim(t, s, "p2c-ewma", 1, false).play()
	})
}
