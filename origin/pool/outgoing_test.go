package pool

import (
	"bytes"
	"io"
	"strconv"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// written is what a client writes: its preface, a request in two frames, a body, credit for two streams, an end.
func written(t testing.TB) []byte {
	var b bytes.Buffer
	b.WriteString(http2.ClientPreface)
	f := http2.NewFramer(&b, nil)
	for _, err := range []error{
		f.WriteSettings(http2.Setting{ID: http2.SettingEnablePush}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: maxWindow}),
		f.WriteWindowUpdate(0, 1<<30),
		f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte("\x82\x86"), EndHeaders: false}),
		f.WriteContinuation(1, true, []byte("\x84")),
		f.WriteData(1, false, bytes.Repeat([]byte("x"), 5000)),
		f.WriteData(1, true, nil),
		f.WriteSettingsAck(),
		f.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: []byte("\x82\x86\x84"), EndHeaders: true, EndStream: true}),
		f.WriteWindowUpdate(1, 300<<10),
		f.WriteWindowUpdate(3, 5000),
		f.WriteWindowUpdate(99, 4096),
		f.WritePing(false, [8]byte{1}),
		f.WriteRSTStream(3, http2.ErrCodeCancel),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// passed is what comes out when b is written in pieces of a size. Before what begins at late, much has come of stream 3, long ago.
func passed(b []byte, late, size int) []byte {
	w := &windows{budget: 64 << 20}
	w.start.Store(3 << 20)
	o := outgoing{flows: newFlows(w, 0)}
	var out []byte
	for _, part := range [][]byte{b[:late], b[late:]} {
		for len(part) > 0 {
			n := min(size, len(part))
			out, part = append(out, o.pass(part[:n], time.Time{})...), part[n:]
		}
		o.flows.data(3, 2<<20)
		if s := o.flows.streams[3]; s != nil {
			s.behind = time.Time{}.Add(-time.Hour)
		}
	}
	return out
}

func TestOutgoingWindows(t *testing.T) {
	all := written(t)
	late := len(all) - 3*13 - 17 - 13 // before the credit
	want := passed(all, late, len(all))
	if !bytes.HasPrefix(want, []byte(http2.ClientPreface)) {
		t.Fatalf("begins with %q", want[:min(len(want), 30)])
	}
	f := http2.NewFramer(io.Discard, bytes.NewReader(want[prefix:]))
	f.AllowIllegalReads = true
	var got []string
	for {
		frame, err := f.ReadFrame()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, http2FrameText(frame))
	}
	for i, line := range []string{
		"SETTINGS 65536", "WINDOW_UPDATE 0 1073741824", "HEADERS 1", "CONTINUATION 1", "WINDOW_UPDATE 1 3080192", "DATA 1 5000", "DATA 1 0",
		"SETTINGS -1", "HEADERS 3", "WINDOW_UPDATE 3 3080192", "WINDOW_UPDATE 1 307200", "WINDOW_UPDATE 99 4096", "PING 0", "RST_STREAM 3",
	} {
		if i >= len(got) || got[i] != line {
			t.Errorf("frame %d of %q: want %s", i, got, line)
			break
		}
	}
	for size := 1; size < 60; size++ {
		if out := passed(all, late, size); !bytes.Equal(out, want) {
			t.Errorf("in pieces of %d bytes another thing comes out", size)
		}
	}
}

func http2FrameText(f http2.Frame) string {
	h := f.Header()
	n := func(v int64) string { return " " + strconv.FormatInt(v, 10) }
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if v, ok := f.Value(http2.SettingInitialWindowSize); ok {
			return "SETTINGS" + n(int64(v))
		}
		return "SETTINGS -1"
	case *http2.WindowUpdateFrame:
		return "WINDOW_UPDATE" + n(int64(h.StreamID)) + n(int64(f.Increment))
	case *http2.DataFrame:
		return "DATA" + n(int64(h.StreamID)) + n(int64(h.Length))
	}
	return h.Type.String() + n(int64(h.StreamID))
}

// Whatever is written and however it is cut, nothing panics, and what has nothing to change comes out as it was.
func FuzzOutgoing(f *testing.F) {
	f.Add(written(f), 7)
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), 3)
	f.Fuzz(func(t *testing.T, b []byte, size int) {
		out := passed(b, len(b)/2, max(size, 1))
		if len(out) > 4*len(b)+64 {
			t.Errorf("%d bytes became %d", len(b), len(out))
		}
	})
}
