package ops

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// maxBody bounds the content of a request to the admin socket.
const maxBody = 1 << 20

// A Refusal is an error of a call that says which status it is answered with; other
// errors are answered 500.
type Refusal struct {
	Status int // 400 if the call is wrong, 404 if what it names is not there, 409, …
	Cause  error
}

func (r *Refusal) Error() string { return r.Cause.Error() }
func (r *Refusal) Unwrap() error { return r.Cause }

// MarshalDocument returns v, which must be a JSON object, with "schema":
// "hither/NAME/1" as its first member. v has no such member itself.
func MarshalDocument(name string, v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("ops: write document %s: %w", name, err)
	}
	if len(body) < 2 || body[0] != '{' {
		return nil, fmt.Errorf("ops: write document %s: %T is no JSON object", name, v)
	}
	head := fmt.Appendf(nil, `{"schema":"hither/%s/1"`, name)
	if len(body) > 2 {
		head = append(head, ',')
	}
	return append(append(head, body[1:]...), '\n'), nil
}

// checkSchema holds a document to the version that this program knows.
func checkSchema(body []byte) error {
	var head struct {
		Schema string `json:"schema"`
	}
	if err := json.Unmarshal(body, &head); err != nil {
		return fmt.Errorf("read its JSON: %w", err)
	}
	if !strings.HasPrefix(head.Schema, "hither/") || !strings.HasSuffix(head.Schema, "/1") {
		return fmt.Errorf("schema %q is not known here; is the node of another version?", head.Schema)
	}
	return nil
}

// DecodeBody reads the JSON content of a call into v, strictly: unknown members and
// more than 1 MiB are refused with 400.
func DecodeBody(r *http.Request, v any) error {
	d := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return &Refusal{http.StatusBadRequest, fmt.Errorf("ops: read the content of %s: %w", r.URL.Path, err)}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return &Refusal{http.StatusBadRequest, fmt.Errorf("ops: read the content of %s: more than one JSON value", r.URL.Path)}
	}
	return nil
}

// failure is the document of an answer that is not 2xx.
type failure struct {
	Error string `json:"error"`
}

func writeDocument(w http.ResponseWriter, status int, name string, v any) {
	body, err := MarshalDocument(name, v)
	if err != nil {
		status, name = http.StatusInternalServerError, "error"
		body, _ = MarshalDocument(name, failure{err.Error()})
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// The client is gone if this fails, and nobody is left to tell.
	_, _ = w.Write(body)
}

func writeError(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	var refusal *Refusal
	if errors.As(err, &refusal) {
		status = refusal.Status
	}
	writeDocument(w, status, "error", failure{err.Error()})
}
