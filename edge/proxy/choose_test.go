package proxy

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestDevice(t *testing.T) {
	for _, test := range []struct{ agent, want string }{
		{"Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Mobile/15E148 Safari/604.1", mobile},
		{"Mozilla/5.0 (iPod touch; CPU iPhone OS 12_0 like Mac OS X)", mobile},
		{"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Mobile Safari/537.36", mobile},
		{"Mozilla/5.0 (Android 14; Mobile; rv:125.0) Gecko/125.0 Firefox/125.0", mobile},
		{"Opera/9.80 (J2ME/MIDP; Opera Mini/9.80; U; en) Presto/2.12.423 Version/12.16", mobile},
		{"Mozilla/5.0 (Windows Phone 10.0; Android 6.0.1; Microsoft; Lumia 950)", mobile},
		{"BlackBerry9700/5.0.0.862", mobile},
		{"Mozilla/5.0 (iPad; CPU OS 12_2 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/12.1 Mobile/15E148 Safari/604.1", tablet},
		{"Mozilla/5.0 (Linux; Android 13; SM-X700) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36", tablet},
		{"Mozilla/5.0 (Android 14; Tablet; rv:125.0) Gecko/125.0 Firefox/125.0", tablet},
		{"Mozilla/5.0 (Linux; Android 9; KFMAWI) AppleWebKit/537.36 (KHTML, like Gecko) Silk/108.4 like Chrome/108.0 Safari/537.36", tablet},
		{"Mozilla/5.0 (X11; U; Linux armv7l like Android; en-us) AppleWebKit/531.2+ (KHTML, like Gecko) Version/5.0 Safari/533.2+ Kindle/3.0+", tablet},
		{"Mozilla/5.0 (PlayBook; U; RIM Tablet OS 2.1.0; en-US)", tablet},
		{"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36", desktop},
		{"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Safari/605.1.15", desktop},
		{"Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0", desktop},
		{"Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1; Tablet PC 2.0)", desktop},
		{"curl/8.5.0", desktop},
		{"", desktop},
	} {
		if got := device(test.agent); got != test.want {
			t.Errorf("%s: %s, want %s", test.agent, got, test.want)
		}
	}
	if got := deviceOf(http.Header{}); got != desktop {
		t.Errorf("no User-Agent: %s", got)
	}
}

func TestCookieOf(t *testing.T) {
	for _, test := range []struct {
		lines       []string
		value       string
		sent, plain bool
	}{
		{nil, "", false, true},
		{[]string{"a=b"}, "", false, true},
		{[]string{"lang=de"}, "de", true, true},
		{[]string{"a=b; lang=de; c=d"}, "de", true, true},
		{[]string{"a=b", "lang=de"}, "de", true, true}, // several lines, as HTTP/2 has them
		{[]string{"lang =de"}, "de", true, true},
		{[]string{"lang= de"}, " de", true, false}, // some keep the blank
		{[]string{"lang=de ; a=b"}, "de ", true, false},
		{[]string{"lang="}, "", true, true},
		{[]string{`lang="de"`}, `"de"`, true, true},
		{[]string{"Lang=de"}, "", false, true}, // names are told apart by case
		{[]string{"xlang=de; lang2=x"}, "", false, true},
		{[]string{"q=a,b; w=a=lang"}, "", false, true},
		{[]string{"lang=de; lang=en"}, "de", true, false}, // some take the first, some the last
		{[]string{"lang=de", "lang=de"}, "de", true, false},
		{[]string{"lang"}, "", true, false},
		{[]string{"l%61ng=de"}, "", false, false}, // some decode names
		{[]string{"%20lang=de"}, "", false, false},
		{[]string{"%zz=1"}, "", false, false},
		{[]string{"%66oo=1"}, "", false, true},
		{[]string{"a=b, lang=de"}, "", false, false}, // some separate by commas
		{[]string{"lang=en,lang=de"}, "en,lang=de", true, false},
		{[]string{"a,lang=de"}, "", false, false},
		{[]string{`"lang"=de`}, "", false, false},
	} {
		value, sent, plain := cookieOf(test.lines, "lang")
		if value != test.value || sent != test.sent || plain != test.plain {
			t.Errorf("%q: %q, %v, %v, want %q, %v, %v", test.lines, value, sent, plain, test.value, test.sent, test.plain)
		}
	}
}

// Fields that say something else to the origin, or to the cache, choose nothing.
func TestChoosable(t *testing.T) {
	for _, name := range []string{
		"Cookie", "Authorization", "Host", "Via", "X-Forwarded-For", "X_forwarded_for", "X-Real-Ip", DeviceField, "Range", "If-None-Match", "Connection", "Te",
		"X-Http-Method-Override", "Early-Data", "Cache-Control",
	} {
		if Choosable(name) {
			t.Errorf("%s may choose", name)
		}
	}
	for _, name := range []string{"X-Country", "Accept", "Accept-Language", "User-Agent", "Origin"} {
		if !Choosable(name) {
			t.Errorf("%s may not choose", name)
		}
	}
}

// A list of choosers has one suffix in any order, and no two lists have the same.
func TestChoosersSuffix(t *testing.T) {
	list := func(t *rapid.T, label string) Choosers {
		names := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"A", "B", "X-Country"}), 0, 3, rapid.ID).Draw(t, label+" headers")
		cookies := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "A", "lang"}), 0, 3, rapid.ID).Draw(t, label+" cookies")
		return Choose(names, cookies, rapid.Bool().Draw(t, label+" device"))
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := list(t, "a"), list(t, "b")
		if (a.suffix == b.suffix) != slices.Equal(a.names, b.names) {
			t.Fatalf("%q has %q, %q has %q", a.names, a.suffix, b.names, b.suffix)
		}
		if (a.suffix == "") != (len(a.names) == 0) {
			t.Fatalf("%q has %q", a.names, a.suffix)
		}
	})
}

// What is too long chooses nothing: it is not stored.
func TestChoosersPlain(t *testing.T) {
	c := Choose([]string{"X-Country"}, []string{"lang"}, true)
	h := http.Header{"X-Country": {strings.Repeat("x", mostChosen-2)}, "Cookie": {"lang=de; other=" + strings.Repeat("y", 9000)}, "User-Agent": {strings.Repeat("z", 9000)}}
	if !c.plain(h) {
		t.Error("no more than the bound is too long")
	}
	h["X-Country"] = append(h["X-Country"], "1")
	if c.plain(h) {
		t.Error("more than the bound is taken")
	}
	r := c.reader(http.Header{"Cookie": {"lang=de"}, DeviceField: {"mobile"}})
	for name, want := range map[string]string{"Cookie": "lang=de", "Cookie;lang": "de", DeviceField: desktop, "X-Country": ""} {
		if got := strings.Join(r.Values(name), "|"); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// Whatever rules come and go: nobody is answered with what was made for another value of what the rule of now lets choose,
// or of what the response says by Vary.
func TestChoosersChange(t *testing.T) {
	rules := []*Rule{
		nil,
		{Path: "*", Choose: Choose([]string{"X-Country"}, nil, false)},
		{Path: "*", Choose: Choose(nil, []string{"lang"}, false)},
		{Path: "*", Choose: Choose(nil, nil, true)},
		{Path: "*", Choose: Choose([]string{"X-Country"}, []string{"lang"}, true)},
	}
	hits := 0
	rapid.Check(t, func(t *rapid.T) {
		vary := rapid.SampledFrom([][]string{nil, {"Cookie"}, {"X-Country"}, {"Accept"}}).Draw(t, "vary")
		origin := roundTrip(func(r *http.Request) (*http.Response, error) {
			body := strings.Join(r.Header["X-Country"], "|") + " " + strings.Join(r.Header["Cookie"], "|") + " " + strings.Join(r.Header[DeviceField], "|")
			h := http.Header{"Cache-Control": {"max-age=60"}}
			if vary != nil {
				h["Vary"] = vary
			}
			return &http.Response{StatusCode: 200, Header: h, ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body)), ProtoMajor: 2}, nil
		})
		p := newProxy(NewSites())
		var now *Rule
		change := func(t *rapid.T) {
			now = rapid.SampledFrom(rules).Draw(t, "rule")
			site := &Site{Name: "www", Transport: origin}
			if now != nil {
				site.Rules = []Rule{*now}
			}
			sites := NewSites()
			sites.Add(site, "www.test")
			p.SetSites(sites)
		}
		change(t)
		t.Repeat(map[string]func(*rapid.T){
			"change": change,
			"ask": func(t *rapid.T) {
				country := rapid.SampledFrom([]string{"ch", "fr"}).Draw(t, "country")
				lang := rapid.SampledFrom([]string{"lang=de", "lang=en", "id=1; lang=de", ""}).Draw(t, "cookie")
				agent := rapid.SampledFrom([]string{"iPhone", "iPad", "curl"}).Draw(t, "agent")
				r, err := http.NewRequest(rapid.SampledFrom([]string{"GET", "GET", "GET", "HEAD", "POST"}).Draw(t, "method"), "https://www.test/", nil)
				if err != nil {
					t.Fatal(err)
				}
				r.RequestURI, r.RemoteAddr = "/", "192.0.2.1:5"
				r.Header = http.Header{"X-Country": {country}, "User-Agent": {agent}, DeviceField: {"mobile"}}
				if lang != "" {
					r.Header["Cookie"] = []string{lang}
				}
				w := httptest.NewRecorder()
				p.ServeHTTP(w, r)
				if strings.Contains(w.Header().Get("Cache-Status"), "; hit") {
					hits++
				}
				if r.Method == http.MethodHead {
					return
				}
				got := strings.SplitN(w.Body.String(), " ", 2)
				if len(got) != 2 {
					t.Fatalf("%d %q", w.Code, w.Body)
				}
				rest := strings.Split(got[1], " ")
				told, cookies := rest[len(rest)-1], strings.Join(rest[:len(rest)-1], " ")
				if (now != nil && slices.Contains(now.Choose.names, "X-Country") || slices.Contains(vary, "X-Country")) && got[0] != country {
					t.Fatalf("%s was answered what is for %s", country, got[0])
				}
				if mine, theirs := strings.TrimPrefix(lang, "id=1; "), strings.TrimPrefix(cookies, "id=1; "); now != nil && len(now.Choose.cookies) > 0 && mine != theirs {
					t.Fatalf("%q was answered what is for %q", lang, cookies)
				}
				if slices.Contains(vary, "Cookie") && cookies != lang {
					t.Fatalf("%q was answered what is for %q in spite of Vary", lang, cookies)
				}
				want := ""
				if now != nil && now.Choose.device {
					want = device(agent)
				}
				if told != want {
					t.Fatalf("%s was answered what is for a device %q", agent, told)
				}
			},
		})
	})
	if hits == 0 {
		t.Error("nothing was ever answered from the cache")
	}
}

// Rules that let nothing choose cost a hit nothing.
func TestChoosersFree(t *testing.T) {
	site := &Site{Name: "www", Rules: []Rule{{Path: "/", Choose: Choose(nil, nil, false)}}}
	sites := NewSites()
	sites.Add(site, "www.test")
	p := newProxy(sites)
	stock(t, p, site)
	var v RequestView = asked{method: "GET", authority: "www.test", target: "/", plain: true}
	if n := testing.AllocsPerRun(1000, func() {
		if s, _ := p.Hit(v, noon); s == nil {
			t.Fatal("no hit")
		}
	}); n > hitAllocs {
		t.Errorf("Hit takes %v allocations, want %d", n, hitAllocs)
	}
}

// What is plain, another parser reads alike: net/http's, and one that decodes names, and one that separates by commas.
func FuzzCookieOf(f *testing.F) {
	for _, line := range []string{"lang=de", "a=b; lang=de", "lang=de; lang=en", "l%61ng=de", "a=b, lang=de", "lang", `lang="d"; x`, "%", "lang =de;;=", "[lang]=x"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		value, sent, plain := cookieOf([]string{line}, "lang")
		if strings.Contains(value, ";") || !sent && value != "" {
			t.Fatalf("%q: %q, %v", line, value, sent)
		}
		if !plain {
			return
		}
		list := (&http.Request{Header: http.Header{"Cookie": {line}}}).CookiesNamed("lang")
		if len(list) > 1 || len(list) == 1 && (!sent || list[0].Value != strings.Trim(value, `"`) && list[0].Value != value) {
			t.Fatalf("%q: %q, %v, and net/http reads %v", line, value, sent, list)
		}
		n := 0
		for pair := range strings.FieldsFuncSeq(line, func(r rune) bool { return r == ';' || r == ',' }) {
			name, _, ok := strings.Cut(pair, "=")
			if decoded, err := url.PathUnescape(strings.TrimSpace(name)); ok && err == nil && strings.TrimSpace(decoded) == "lang" {
				n++
			}
		}
		if n > 1 || n == 1 && !sent {
			t.Fatalf("%q: %q, %v, and others find %d", line, value, sent, n)
		}
	})
}
