package fleet

import "net/http"

// Guard is a handler for connections between nodes which refuses requests of a peer that was revoked since its connection began, with 503,
// and has the connection end where its protocol can say so; all others go to h. refused is told of each: it may be called by many at once.
func (id *Identity) Guard(h http.Handler, refused func(error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := id.Refused(r.TLS)
		if err == nil {
			h.ServeHTTP(w, r)
			return
		}
		refused(err)
		w.Header().Set("Connection", "close")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusServiceUnavailable)
	})
}
