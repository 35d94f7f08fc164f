package proxy

import (
	"net/http"
	"strings"
	"testing"

	"github.com/dunglas/httpsfv"

	"hither/cache"
)

func TestAppendKey(t *testing.T) {
	for want, k := range map[string]cache.Key{
		`; key="www https /a?b=%22c"`:          {Site: "www", Scheme: "https", Path: "/a?b=%22c"},
		`; key="www http+https /\"\\"`:         {Site: "www", Path: `/"\`},
		`; key="www https /%C3%A4%0D"`:         {Site: "www", Scheme: "https", Path: "/ä\r"},
		`; key="www https /a =de,en;500 ~fr "`: {Site: "www", Scheme: "https", Path: "/a\nX-A", Vary: "k3\n=de,en;500\n~fr\n"},
		``:                                     {},
	} {
		x := Exchange{keyed: true, key: k}
		if got := string(x.appendKey(nil)); got != want {
			t.Errorf("%+v: %s, want %s", k, got, want)
		}
		if x.keyed = false; x.appendKey(nil) != nil {
			t.Errorf("%+v is told to who may not have it", k)
		}
	}
	long := Exchange{keyed: true, key: cache.Key{Site: "www", Path: "/" + strings.Repeat("x", 5000)}}
	if n := len(long.appendKey(nil)); n > mostKey+10 {
		t.Errorf("%d bytes", n)
	}
}

func FuzzAppendKey(f *testing.F) {
	f.Add("/a", "1\n=x")
	f.Add("\"\\\x00\xff", "")
	f.Fuzz(func(t *testing.T, path, vary string) {
		x := Exchange{keyed: true, key: cache.Key{Site: "www", Scheme: "https", Path: path, Vary: vary}}
		member := "fra; hit" + string(x.appendKey(nil))
		list, err := httpsfv.UnmarshalList([]string{member})
		if err != nil || len(list) != 1 {
			t.Fatalf("%s: %v", member, err)
		}
		if key, ok := list[0].(httpsfv.Item).Params.Get("key"); !ok || !strings.HasPrefix(key.(string), "www https ") {
			t.Errorf("%s: %v", member, key)
		}
	})
}

// The key is told to those who ask from a trusted address; nobody's question reaches the origin.
func TestKeyed(t *testing.T) {
	eachProto(t, func(t *testing.T, h *house) {
		h.origin("/a", says(200, "hello", "Cache-Control", "max-age=60", "Vary", "Accept-Language"))
		h.origin("/b", says(200, "hello", "Cache-Control", "no-store"))
		const ask = "Hither-Cache-Status"
		h.get("/a", 200, "hello", ask, "key", "Accept-Language", "fr").fields(t, "Cache-Status", "fra; fwd=uri-miss; stored")
		sent(t, h.expectAsked(1), ask, "-")
		h.proxy.cfg.Trusted = prefixes("127.0.0.0/8", "::1/128")
		h.get("/a", 200, "hello", "Accept-Language", "fr").fields(t, "Cache-Status", "fra; hit; ttl=60")
		h.get("/a", 200, "hello", "Accept-Language", "fr", ask, "key").fields(t, "Cache-Status", `fra; hit; ttl=60; key="www https /a =fr"`)
		h.get("/a", 200, "hello", "Accept-Language", "fr", ask, "all").fields(t, "Cache-Status", "fra; hit; ttl=60")
		h.get("/a", 200, "hello", "Accept-Language", "de", ask, "key").fields(t, "Cache-Status", `fra; fwd=vary-miss; stored; key="www https /a =de"`)
		sent(t, h.expectAsked(1), ask, "-")
		h.get("/b", 200, "hello", ask, "key").fields(t, "Cache-Status", `fra; fwd=uri-miss; detail=no-store; key="www https /b"`)
		h.asked()
	})
	if wantsKey(http.Header{keyField: {"key", "key"}}) || wantsKey(http.Header{}) {
		t.Error("asked by nobody")
	}
}
