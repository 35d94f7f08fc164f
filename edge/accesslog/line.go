package accesslog

import (
	"encoding/json"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"hither/edge/proxy"
)

// A Line is one exchange in the JSON format. Names end in their unit.
type Line struct {
	Time    time.Time  `json:"time"` // when the request's header was complete, UTC
	Node    string     `json:"node"`
	Client  netip.Addr `json:"client"`
	Proto   string     `json:"proto"`           // h1, h2, h3
	TLS     string     `json:"tls,omitempty"`   // 1.2, 1.3; absent for plain HTTP
	Early   bool       `json:"early,omitempty"` // came as early data (RFC 8470)
	Method  string     `json:"method"`
	Host    string     `json:"host"`
	Target  string     `json:"target"`
	Status  int        `json:"status"` // 499: the client left before the answer
	Site    string     `json:"site,omitempty"`
	Verdict string     `json:"verdict"`          // hit miss stale updating revalidated expired bypass refused error
	Reason  string     `json:"reason,omitempty"` // why
	Origin  string     `json:"origin,omitempty"` // the origin asked
	Fault   string     `json:"fault,omitempty"`  // what went wrong, in words

	InBytes  int64 `json:"in_bytes"`  // content received
	OutBytes int64 `json:"out_bytes"` // content sent

	FirstByteMS float64 `json:"first_byte_ms"`     // until the response's header was sent
	TotalMS     float64 `json:"total_ms"`          // until its end
	WaitMS      float64 `json:"wait_ms,omitempty"` // until the origin's header came; absent where none was asked

	Referer string `json:"referer,omitempty"`
	Agent   string `json:"agent,omitempty"`
}

// lineOf translates an exchange.
func lineOf(x *proxy.Exchange) Line {
	l := Line{
		Time: x.Start.UTC(), Node: x.Node, Client: x.Client, Proto: x.Proto, TLS: x.TLS, Early: x.Early, Method: x.Method,
		Host: x.Host, Target: x.Target, Status: x.Status, Site: x.Site, Verdict: x.Verdict.String(), Reason: string(x.Reason),
		Origin: x.Origin, InBytes: x.BytesIn, OutBytes: x.BytesOut,
		FirstByteMS: milliseconds(x.FirstByte), TotalMS: milliseconds(x.Total), WaitMS: milliseconds(x.Wait),
		Referer: x.Referer, Agent: x.Agent,
	}
	if x.Fault != nil {
		l.Fault = x.Fault.Error()
	}
	return l
}

// milliseconds keeps microseconds, which is what a clock on a busy machine is worth.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// appendJSON appends x as a JSON object and a line feed. encoding/json escapes control
// characters and replaces invalid UTF-8, so no client can begin a line.
func appendJSON(b []byte, x *proxy.Exchange) []byte {
	data, err := json.Marshal(lineOf(x))
	if err != nil {
		data = []byte(`{"error":"line"}`) // a time outside years 0 to 9999 is all that fails
	}
	return append(append(b, data...), '\n')
}

// appendCombined appends x in the combined log format.
func appendCombined(b []byte, x *proxy.Exchange) []byte {
	b = append(b, x.Client.String()...)
	b = append(b, " - - ["...)
	b = x.Start.AppendFormat(b, "02/Jan/2006:15:04:05 -0700")
	b = append(b, `] "`...)
	b = appendEscaped(b, x.Method)
	b = append(b, ' ')
	b = appendEscaped(b, x.Target)
	b = append(b, ' ')
	b = appendEscaped(b, x.Protocol)
	b = append(b, `" `...)
	b = strconv.AppendInt(b, int64(x.Status), 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, x.BytesOut, 10)
	for _, v := range [...]string{x.Referer, x.Agent} {
		b = append(b, ` "`...)
		if v == "" {
			v = "-"
		}
		b = appendEscaped(b, v)
		b = append(b, '"')
	}
	return append(b, '\n')
}

// appendEscaped writes what a client sent so that it can neither end the quotes nor the
// line: as \xHH, the way httpd and nginx do.
func appendEscaped(b []byte, s string) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || strings.IndexByte(`"\`, c) >= 0 {
			b = append(b, '\\', 'x', digits[c>>4], digits[c&15])
		} else {
			b = append(b, c)
		}
	}
	return b
}
