package pool

import (
	"errors"
	"net/http"
	"strings"
)

// What of a response net/http's HTTP/2 lets pass.
var (
	errAnswerStatus = errors.New("origin sent a status that is none")
	errAnswerLength = errors.New("origin sent a Content-Length that is none, or several")
)

// checkAnswer refuses a status that has not three digits (RFC 9110 section 15), which a server that passes it on panics at, and
// a Content-Length that is no number or not the same each time (RFC 9110 section 8.6), which whoever reads it next may
// understand in another way.
func checkAnswer(res *http.Response) error {
	said, _, _ := strings.Cut(res.Status, " ")
	if res.StatusCode < 100 || res.StatusCode > 999 || len(said) != 3 {
		return errAnswerStatus
	}
	lengths := res.Header["Content-Length"]
	for _, l := range lengths {
		if l != lengths[0] || l == "" || strings.Trim(l, "0123456789") != "" {
			return errAnswerLength
		}
	}
	return nil
}
