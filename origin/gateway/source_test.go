package gateway

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"hither/deploy"
)

func TestClientOf(t *testing.T) {
	l := near{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:1::1/128")}
	for _, c := range []struct{ fields, want string }{
		{"", "198.51.100.1:5000"},
		{"192.0.2.7", "192.0.2.7:0"},
		{"2001:db8::7", "[2001:db8::7]:0"},
		{"::ffff:192.0.2.7", "192.0.2.7:0"},
		{"unknown", "198.51.100.1:5000"},
		{"203.0.113.1, 192.0.2.7", "192.0.2.7:0"}, // what a client says itself is nobody's word
		{"203.0.113.1, 192.0.2.7, 10.1.2.3, 2001:db8:1::1", "192.0.2.7:0"},
		{"203.0.113.1|192.0.2.7|10.1.2.3", "192.0.2.7:0"},
		{"192.0.2.7:1234, 10.1.2.3", "192.0.2.7:1234"},
		{"nonsense, 10.1.2.3", "10.1.2.3:0"},
		{"10.1.2.3", "10.1.2.3:0"},
		{", ,", "198.51.100.1:5000"},
		{"fe80::1%eth0", "[fe80::1]:0"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = "198.51.100.1:5000"
		if c.fields != "" {
			r.Header["X-Forwarded-For"] = strings.Split(c.fields, "|")
		}
		if got := l.client(r).String(); got != c.want {
			t.Errorf("%q: %s, want %s", c.fields, got, c.want)
		}
	}
}

// TestClientOfPoP has a PoP fetch through a shield from an address that the network file does not know.
func TestClientOfPoP(t *testing.T) {
	l := near{netip.MustParsePrefix("10.0.0.0/8")}
	for _, c := range []struct {
		fields string
		loop   []string
		want   string
	}{
		{"203.0.113.1, 192.0.2.7", []string{"net"}, "192.0.2.7:0"},
		{"203.0.113.1, 192.0.2.7", []string{"net", "net"}, "203.0.113.1:0"},
		{"203.0.113.1, 192.0.2.7", []string{"other", "other", "net"}, "192.0.2.7:0"}, // what a client says
		{"203.0.113.1, 192.0.2.7", []string{"net, NET"}, "203.0.113.1:0"},
		{"203.0.113.1, 10.1.2.3, 192.0.2.7", []string{"net, net"}, "203.0.113.1:0"},
		{"192.0.2.7", []string{"net", "net"}, "192.0.2.7:0"},
		{"203.0.113.1, 192.0.2.7", []string{"", ""}, "192.0.2.7:0"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = "198.51.100.1:5000"
		r.Header["X-Forwarded-For"], r.Header["Cdn-Loop"] = []string{c.fields}, c.loop
		if got := l.client(r).String(); got != c.want {
			t.Errorf("%q by %q: %s, want %s", c.fields, c.loop, got, c.want)
		}
	}
}

// TestAnnounced puts the gateway before a server that takes no connection without a header of the PROXY protocol: it sees
// each client as the edge tells it, on connections that no two clients share, and for a check nobody.
func TestAnnounced(t *testing.T) {
	for _, version := range []string{"v1", "v2"} {
		t.Run(version, func(t *testing.T) {
			checked := make(chan bool, 100)
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/up" {
					checked <- strings.HasPrefix(r.RemoteAddr, "127.")
					return
				}
				fmt.Fprint(w, r.RemoteAddr)
			}))
			s.Listener = &proxyproto.Listener{
				Listener: s.Listener, ReadHeaderTimeout: time.Minute,
				ConnPolicy: func(proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) { return proxyproto.REQUIRE, nil },
			}
			s.Config.ErrorLog = quiet
			s.Start()
			defer s.Close()
			h := newHouse(t, deploy.LocalOptions{Origin: s.URL})
			us := h.network.Origin("us")
			us.App.ProxyProtocol = version
			us.Balance.Health = &deploy.Health{Type: "http", Path: "/up", Interval: deploy.Duration(2 * time.Second), Timeout: deploy.Duration(2 * time.Second), Fall: 1, Rise: 1}
			g, _ := h.run(t)
			edge := h.edge(t, g)
			for range 2 {
				for client, want := range map[string]string{
					"192.0.2.7": "192.0.2.7:0", "2001:db8::7": "[2001:db8::7]:0", "203.0.113.9, 192.0.2.8": "192.0.2.8:0", "192.0.2.9, 127.0.1.2": "192.0.2.9:0",
					"": "127.", "unknown": "127.",
				} {
					r, err := http.NewRequestWithContext(deadline(t), "GET", "https://www.hither.test/", nil)
					if err != nil {
						t.Fatal(err)
					}
					if client != "" {
						r.Header.Set("X-Forwarded-For", client)
					}
					res, err := edge.RoundTrip(r)
					if body, err := whole(res, err); err != nil || res.StatusCode != 200 || !strings.HasPrefix(body, want) {
						t.Errorf("%q: %q, %v, want %s", client, body, err, want)
					}
				}
			}
			select {
			case own := <-checked:
				if !own {
					t.Error("a check was announced as somebody's")
				}
			case <-deadline(t).Done():
				t.Error("no check got through")
			}
			for _, st := range g.application().up.Status().Checks {
				if !st.Up || st.FailTotal > 0 {
					t.Errorf("checks: %+v", st)
				}
			}
		})
	}
}
