package gateway

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path"
	"strings"

	"hither/deploy"
)

//go:embed site
var site embed.FS

func newApp(o *deploy.Origin, log *slog.Logger) (*app, error) {
	if len(o.App.Instances) > 0 {
		u, err := url.Parse(o.App.Instances[0].URL)
		if err != nil {
			return nil, err
		}
		t := http.DefaultTransport.(*http.Transport).Clone()
		rp := &httputil.ReverseProxy{Transport: t, FlushInterval: -1, Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(u)
			p.Out.Host = p.In.Host
			for _, n := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
				p.Out.Header[n] = p.In.Header[n]
			}
		}}
		return &app{rp, t.CloseIdleConnections}, nil
	}
	fsys, err := fs.Sub(site, "site")
	if err != nil {
		return nil, err
	}
	if o.App.Static != nil && o.App.Static.Folder != "" {
		root, err := os.OpenRoot(o.App.Static.Folder)
		if err != nil {
			return nil, fmt.Errorf("gateway: site folder: %w", err)
		}
		fsys = root.FS()
	}
	cc := "public, max-age=60"
	if o.App.Static != nil && o.App.Static.CacheControl != "" {
		cc = o.App.Static.CacheControl
	}
	return &app{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(path.Clean(r.URL.Path), "/")
		if name == "" || strings.HasSuffix(r.URL.Path, "/") {
			name = path.Join(name, "index.html")
		}
		f, err := fsys.Open(name)
		if err != nil {
			http.NotFound(w, r)
			return
		}
		defer f.Close()
		st, _ := f.Stat()
		if st.IsDir() {
			http.Redirect(w, r, r.URL.Path+"/", 301)
			return
		}
		rs := f.(io.ReadSeeker)
		h := sha256.New()
		io.Copy(h, rs)
		rs.Seek(0, 0)
		w.Header().Set("ETag", `"`+base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:16])+`"`)
		w.Header().Set("Cache-Control", cc)
		http.ServeContent(w, r, name, st.ModTime(), rs)
	}), func() {}}, nil
}
