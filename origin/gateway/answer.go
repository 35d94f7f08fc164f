package gateway

import (
	"fmt"
	"net/http"
	"strconv"
)

// answer writes a small page that says the status, for what is no content of the site's own.
func answer(w http.ResponseWriter, r *http.Request, status int) {
	write(w, r, status, fmt.Appendf(nil, `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>%d %[2]s</title>
<style>body{font:1.2rem/1.5 system-ui,sans-serif;max-width:36rem;margin:20vh auto;padding:0 1rem}</style>
<h1>%[1]d</h1>
<p>%[2]s</p>
`, status, http.StatusText(status)))
}

// write sends a page of HTML. What failed here is not stored anywhere; other statuses say nothing about it.
func write(w http.ResponseWriter, r *http.Request, status int, page []byte) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(page)))
	if status >= 500 {
		h.Set("Cache-Control", "no-store")
	}
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write(page)
	}
}
