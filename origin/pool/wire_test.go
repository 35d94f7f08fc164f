package pool

import (
	"bytes"
	"testing"

	"golang.org/x/net/http2"
)

// FuzzScanner holds the scanner to golang.org/x/net/http2's framer, whatever pieces the bytes come in.
func FuzzScanner(f *testing.F) {
	var b bytes.Buffer
	fr := http2.NewFramer(&b, nil)
	fr.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 7})
	fr.WriteSettingsAck()
	fr.WriteData(1, false, bytes.Repeat([]byte{4}, 300)) // bytes that look like SETTINGS
	fr.WriteGoAway(1, http2.ErrCodeNo, []byte("bye"))
	fr.WriteSettings()
	f.Add(b.Bytes(), uint8(1))
	f.Add(b.Bytes(), uint8(200))
	f.Add(b.Bytes()[:40], uint8(9))
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"), uint8(3))
	f.Fuzz(func(t *testing.T, data []byte, piece uint8) {
		var s scanner
		for rest := data; len(rest) > 0; {
			n := min(int(piece)+1, len(rest))
			s.feed(rest[:n])
			rest = rest[n:]
		}
		// The headers alone: the framer also judges what is in a frame.
		settings, goaways := 0, 0
		for r := bytes.NewReader(data); ; {
			h, err := http2.ReadFrameHeader(r)
			if err != nil || int64(h.Length) > int64(r.Len()) {
				break
			}
			r.Seek(int64(h.Length), 1)
			switch {
			case h.Type == http2.FrameSettings && !h.Flags.Has(http2.FlagSettingsAck):
				settings++
			case h.Type == http2.FrameGoAway:
				goaways++
			}
		}
		if s.settings != settings || s.goaways != goaways {
			t.Errorf("scanner saw %d SETTINGS and %d GOAWAY, framer %d and %d", s.settings, s.goaways, settings, goaways)
		}
	})
}
