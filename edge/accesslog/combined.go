package accesslog

import (
	"strconv"

	"hither/edge/proxy"
)

// appendCombined appends x in the combined format. Quotes, backslashes and whatever is
// not printable ASCII appear as nginx writes them, as \xHH; so do spaces in what must be
// one word of the request line.
func appendCombined(dst []byte, x *proxy.Exchange) []byte {
	if x.Client.IsValid() {
		dst = x.Client.WithZone("").AppendTo(dst)
	} else {
		dst = append(dst, '-')
	}
	dst = append(dst, " - - ["...) // identity and user: the edge knows neither
	dst = x.Start.UTC().AppendFormat(dst, "02/Jan/2006:15:04:05 -0700")
	dst = append(dst, `] "`...)
	dst = appendQuoted(dst, x.Method, '!')
	dst = append(dst, ' ')
	dst = appendQuoted(dst, x.Target, '!')
	dst = append(dst, ' ')
	dst = appendQuoted(dst, x.Protocol, '!')
	dst = append(dst, `" `...)
	if x.Status == 0 {
		dst = append(dst, "000"...) // nginx's word for a connection that ended before a status
	} else {
		dst = strconv.AppendInt(dst, int64(x.Status), 10)
	}
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, x.BytesOut, 10)
	dst = append(dst, ` "`...)
	dst = appendQuoted(dst, orDash(x.Referer), ' ')
	dst = append(dst, `" "`...)
	dst = appendQuoted(dst, orDash(x.Agent), ' ')
	return append(dst, '"', '\n')
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// appendQuoted appends s; characters below least are escaped.
func appendQuoted(dst []byte, s string, least byte) []byte {
	const upper = "0123456789ABCDEF"
	s = cut(s)
	for i := range len(s) {
		if c := s[i]; c < least || c > '~' || c == '"' || c == '\\' {
			dst = append(dst, '\\', 'x', upper[c>>4], upper[c&15])
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}
