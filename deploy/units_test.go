package deploy_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hither/deploy"
)

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0s": 0, "30s": 30 * time.Second, "168h": 168 * time.Hour, "1h30m": 90 * time.Minute,
		"250ms": 250 * time.Millisecond, "1m1ms": time.Minute + time.Millisecond, "90s": 90 * time.Second,
		"87600h": time.Duration(deploy.MaxDuration),
	} {
		var d deploy.Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || time.Duration(d) != want {
			t.Errorf("%s is %v, %v; want %v", text, d, err, want)
		}
	}
	for _, text := range []string{
		"", "0", "30", "-1s", "+1s", "1.5s", "1d", "s", "1 s", "30s1m", "1s1s", "1us", "1S", "٣s",
		"87601h", "87600h1ms", "9223372036854775807h", "99999999999999999999s",
	} {
		d := deploy.Duration(7)
		if err := d.UnmarshalText([]byte(text)); err == nil || d != 7 {
			t.Errorf("%q is taken as %v", text, d)
		}
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]deploy.Size{
		"0B": 0, "0": 0, "1": 1, "64KiB": 64 << 10, "512MiB": 512 << 20, "1GiB": 1 << 30, "2TiB": 2 << 40, "1025B": 1025,
	} {
		var s deploy.Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%s is %v, %v; want %v", text, s, err, want)
		}
	}
	for _, text := range []string{"", "B", "1MB", "1kB", "1mib", "-1B", "1.5GiB", "1 MiB", "1PiB", "8388608TiB", "9223372036854775808"} {
		s := deploy.Size(7)
		if err := s.UnmarshalText([]byte(text)); err == nil || s != 7 {
			t.Errorf("%q is taken as %v", text, s)
		}
	}
}

func TestHostPort(t *testing.T) {
	for text, want := range map[string]deploy.HostPort{
		"192.0.2.1:9443":      {Host: "192.0.2.1", Port: 9443},
		"[2001:DB8::1]:1":     {Host: "2001:db8::1", Port: 1},
		"origin:65535":        {Host: "origin", Port: 65535},
		"a.example.org:9443":  {Host: "a.example.org", Port: 9443},
		"[fe80::1%eth0]:9443": {Host: "fe80::1%eth0", Port: 9443},
	} {
		var h deploy.HostPort
		if err := h.UnmarshalText([]byte(text)); err != nil || h != want {
			t.Errorf("%s is %+v, %v; want %+v", text, h, err, want)
		}
	}
	for _, text := range []string{"", ":9443", "a", "a:", "a:0", "a:-1", "a:+1", "a:65536", "a:http", "a b:1", "2001:db8::1:1", "a:1:2", "[a]:1x"} {
		if err := new(deploy.HostPort).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

// TestUnitsRoundTrip: what is written is read back as the same.
func TestUnitsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := deploy.Duration(rapid.Int64Range(0, int64(deploy.MaxDuration)/1e6).Draw(t, "ms") * 1e6)
		text, _ := d.MarshalText()
		var d2 deploy.Duration
		if err := d2.UnmarshalText(text); err != nil || d2 != d {
			t.Fatalf("%d is written %s and read %d, %v", d, text, d2, err)
		}
		s := deploy.Size(rapid.Int64Min(0).Draw(t, "bytes"))
		text, _ = s.MarshalText()
		var s2 deploy.Size
		if err := s2.UnmarshalText(text); err != nil || s2 != s {
			t.Fatalf("%d is written %s and read %d, %v", s, text, s2, err)
		}
	})
}

func FuzzUnits(f *testing.F) {
	for _, s := range []string{"1h30m", "512MiB", "[2001:db8::1]:9443", "99999999999999999999h", "0", ":", "-1s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var d deploy.Duration
		if d.UnmarshalText([]byte(text)) == nil && (d < 0 || d > deploy.MaxDuration) {
			t.Errorf("duration %q is %d", text, d)
		}
		var s deploy.Size
		if s.UnmarshalText([]byte(text)) == nil && s < 0 {
			t.Errorf("size %q is %d", text, s)
		}
		var h, again deploy.HostPort
		if h.UnmarshalText([]byte(text)) == nil {
			if err := again.UnmarshalText([]byte(h.String())); err != nil || again != h || h.Port == 0 || strings.ContainsAny(h.Host, " \n/") {
				t.Errorf("%q is %+v, and read again %+v, %v", text, h, again, err)
			}
		}
	})
}
