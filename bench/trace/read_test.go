package trace

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/csv"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// file makes a file of a test.
func file(t testing.TB, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "trace.csv")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func packed(t testing.TB, content string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestRead(t *testing.T) {
	const plain = "time,key,size\n10,/a,5\n10.5,\"/b,\"\"x\"\"\",7\n10.25,/a,5\n20,/a,6\n\n21,/c,0\n"
	for name, content := range map[string]string{
		"plain":             plain,
		"gzip":              packed(t, plain),
		"two gzip members":  packed(t, plain[:25]) + packed(t, plain[25:]),
		"without a header":  strings.TrimPrefix(plain, "time,key,size\n"),
		"of another system": "\xef\xbb\xbf" + strings.ReplaceAll(plain, "\n", "\r\n"),
		"no last newline":   strings.TrimSuffix(plain, "\n"),
	} {
		got, err := Read(t.Context(), file(t, content), false)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !slices.Equal(got.keys, []string{"/a", `/b,"x"`, "/a", "/c"}) || !slices.Equal(got.sizes, []int64{5, 7, 6, 0}) ||
			!slices.Equal(got.objects, []uint32{0, 1, 0, 2, 3}) || got.Unique() != 18 || got.Requested() != 23 {
			t.Errorf("%s: %+v", name, got)
		}
		// The third request's time goes back, and counts as the second's.
		if want := []time.Duration{0, time.Second / 2, time.Second / 2, 10 * time.Second, 11 * time.Second}; !slices.Equal(got.at, want) || got.Span() != 11*time.Second {
			t.Errorf("%s: at %v, want %v", name, got.at, want)
		}
	}
}

// What is broken is said with file, line, and what is wrong; with skip it is left out and counted.
func TestBrokenLines(t *testing.T) {
	long := strings.Repeat("x", maxKey+1)
	for line, want := range map[string]string{
		"hello":                        "want time,key,size, has one field",
		"1,/a":                         "has two fields",
		"1,/a,5,7":                     "has more fields",
		"1,\"/a,5":                     "a quote before the key and none behind it",
		"1,\"/a\"b,5":                  "the size alone behind the key's quotes",
		"1,\"/a\",5,6":                 "the size alone behind the key's quotes",
		"1,\"/a\"":                     "the size alone behind the key's quotes",
		"noon,/a,5":                    `time "noon" is no number`,
		"NaN,/a,5":                     `time "NaN"`,
		"1e999,/a,5":                   `time "1e999"`,
		",/a,5":                        `time ""`,
		"1,,5":                         "no key",
		"1,/a,":                        `size "" is no number of bytes`,
		"1,/a,-5":                      `size "-5"`,
		"1,/a,5.0":                     `size "5.0"`,
		"1,/a,9999999999999999":        `size "9999999999999999"`,
		"1," + long + ",5":             "the key is longer than 8192 bytes",
		"1," + long + long + long + "": "longer than 16512 bytes",
		strings.Repeat("x", 1<<20):     "longer than 16512 bytes",
		"1732800000000,/a,5":           "more than 2147483648 seconds after the first, 1;",
		"time,key,size":                `time "time"`, // it is a header in the first line only
	} {
		name := file(t, "1,/a,5\n"+line+"\n2,/b,6\n")
		_, err := Read(t.Context(), name, false)
		var broken *LineError
		if !errors.As(err, &broken) || broken.Line != 2 || !strings.HasPrefix(err.Error(), "trace: "+name+":2: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v; want %s", line, err, want)
		}
		if err != nil && (len(err.Error()) > 300+len(name) || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%.40q: not one short line: %v", line, err)
		}
		got, err := Read(t.Context(), name, true)
		if err != nil || got.Requests() != 2 || got.Skipped != 1 || got.First.Error() != broken.Error() {
			t.Errorf("%.40q: skipped: %+v, %v", line, got, err)
		}
		// In the last line, without a newline.
		if got, err = Read(t.Context(), file(t, "1,/a,5\n"+line), true); err != nil || got.Requests() != 1 || got.Skipped != 1 {
			t.Errorf("%.40q at the end: skipped: %+v, %v", line, got, err)
		}
	}
}

func TestBrokenFiles(t *testing.T) {
	whole := packed(t, strings.Repeat("1,/a,5\n", 10_000))
	for name, c := range map[string]struct{ content, want string }{
		"empty":          {"", "no request in it"},
		"header only":    {"time,key,size\n", "no request in it"},
		"cut off":        {whole[:len(whole)-9], "unexpected EOF: the file was cut off; get it anew"},
		"damaged":        {whole[:len(whole)-8] + "damaged!", "the file is damaged; get it anew"},
		"zstd":           {"\x28\xb5\x2f\xfdxxxx", "unpack it first"},
		"half a gzip":    {"\x1f\x8b", "its beginning is that of gzip: unexpected EOF: the file was cut off; get it anew"},
		"no gzip":        {"\x1f\x8bxxxxxxxxxxxxxx", "gzip: invalid header: the file is damaged; get it anew"},
		"damaged inside": {whole[:12] + "xxxxxxxx" + whole[20:], ": the file is damaged; get it anew"},
	} {
		if _, err := Read(t.Context(), file(t, c.content), false); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %s", name, err, c.want)
		}
	}
	if _, err := Read(t.Context(), file(t, "a\nb\n"), true); err == nil || !strings.Contains(err.Error(), "all 2 lines are broken") {
		t.Errorf("nothing but broken lines: %v", err)
	}
	dir := t.TempDir()
	for name, want := range map[string]string{
		filepath.Join(dir, "none"): "trace: read " + filepath.Join(dir, "none") + ": no such file or directory",
		dir:                        "trace: read " + dir + ": is a directory",
	} {
		if _, err := Read(t.Context(), name, false); err == nil || err.Error() != want {
			t.Errorf("%v; want %s", err, want)
		}
	}
}

// A line without an end is not left out, but ends the trace.
func TestReadEndless(t *testing.T) {
	for _, skip := range []bool{false, true} {
		counts := &endless{}
		_, err := read(t.Context(), io.MultiReader(strings.NewReader("1,/a,5\n"), counts), "zeros", skip)
		if err == nil || err.Error() != "after line 1: a line of more than 64 MiB: this is no trace; want lines of time,key,size" {
			t.Errorf("skip %t: %v", skip, err)
		}
		if counts.n > maxEndless+1<<20 {
			t.Errorf("skip %t: it read %d bytes", skip, counts.n)
		}
	}
	long := strings.Repeat("x", 1<<20)
	if got, err := Read(t.Context(), file(t, "1,/a,5\n"+long+"\n2,/a,5\n"), true); err != nil || got.Requests() != 2 || got.Skipped != 1 {
		t.Errorf("a long line: %+v, %v", got, err)
	}
}

// endless has more of a line, until a gigabyte.
type endless struct{ n int }

func (e *endless) Read(p []byte) (int, error) {
	clear(p)
	if e.n += len(p); e.n > 1<<30 {
		return 0, io.EOF
	}
	return len(p), nil
}

// A pipe that nobody writes to, and one that is written to slowly, hold nobody up for longer than the context.
func TestReadPipe(t *testing.T) {
	name := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := Read(ctx, name, false)
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("nobody writes: %v", err)
	}
	// It stays open: what still waits to open the pipe ends by that, however late it comes to it.
	writer, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	go func() {
		_, err := Read(ctx, name, false)
		done <- err
	}()
	if _, err := writer.WriteString("1,/a,5\n"); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("somebody writes slowly: %v", err)
	}
	runtime.KeepAlive(writer)
}

// Whatever a line has, it is taken as encoding/csv takes it, or refused.
func FuzzLine(f *testing.F) {
	for _, line := range []string{"1,/a,5", `1,"/a,""b""",5`, "1,a\"b,5", "1,\"a\",5,6", "x", ",,,", `1,"`, `1,"a"x,5`, "1,\"\",5"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		if strings.ContainsAny(line, "\r\n") {
			return
		}
		at, key, size, why := split([]byte(line))
		c := csv.NewReader(strings.NewReader(line))
		c.FieldsPerRecord = 3
		fields, err := c.Read()
		if err != nil || strings.HasPrefix(fields[0], `"`) || strings.Contains(line, `"`) && line[0] == '"' {
			return // a time in quotes is none
		}
		if rest := line[strings.IndexByte(line, ',')+1:]; strings.HasSuffix(rest, `"`) && fields[2] != rest[strings.LastIndexByte(rest, ',')+1:] {
			return // a size in quotes is none
		}
		if why != "" || string(at) != fields[0] || string(key) != fields[1] || string(size) != fields[2] {
			t.Errorf("%q: %q %q %q %s, want %q", line, at, key, size, why, fields)
		}
	})
}
