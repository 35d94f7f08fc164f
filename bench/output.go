package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/spf13/cobra"

	"hither/deploy/ops"
)

// commit is set by the linker.
var commit string

// errMeasure marks what went wrong once measuring had begun, with a server that died, say.
var errMeasure = errors.New("measure")

// outputFlag gives a command `-o`.
func outputFlag(c *cobra.Command, output *string) {
	*output = "table"
	c.Flags().VarP((*outputValue)(output), "output", "o", "table or json")
}

type outputValue string

func (o *outputValue) String() string { return string(*o) }
func (o *outputValue) Type() string   { return "FORMAT" }
func (o *outputValue) Set(s string) error {
	if s != "table" && s != "json" {
		return errors.New("want table or json")
	}
	*o = outputValue(s)
	return nil
}

// printDocument writes a result for programs, as `hither/NAME/1`.
func printDocument(w io.Writer, name string, v any) error {
	body, err := ops.MarshalDocument(name, v)
	if err != nil {
		return err
	}
	_, err = w.Write(body)
	return err
}

// checkPicture finds out before the work whether the picture can be written; "" asks for none. It leaves nothing behind.
func checkPicture(svg string) error {
	if svg == "" {
		return nil
	}
	if info, err := os.Stat(filepath.Dir(svg)); err != nil || !info.IsDir() {
		return fmt.Errorf("--svg %s: %s is not a folder", svg, filepath.Dir(svg))
	}
	info, err := os.Stat(svg)
	switch {
	case err == nil && info.IsDir():
		return fmt.Errorf("--svg %s: it is a folder; name a file in it", svg)
	case err == nil && !info.Mode().IsRegular():
		return nil // a pipe has to be opened once only
	}
	_, err = os.Lstat(svg)
	absent := errors.Is(err, fs.ErrNotExist)
	f, err := os.OpenFile(svg, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("--svg: %w; name a file that can be written", err)
	}
	err = f.Close()
	if absent {
		err = errors.Join(err, os.Remove(svg))
	}
	return err
}

// writePicture writes the picture of a result that is out already: where that fails, the measurement is not lost. "" asks for none.
func writePicture(svg string, picture func() []byte) error {
	if svg == "" {
		return nil
	}
	if err := os.WriteFile(svg, picture(), 0o644); err != nil {
		return fmt.Errorf("write the picture: %w; the result above is whole without it", err)
	}
	return nil
}

// asWell is both errors in one line, either of which may be nil.
func asWell(first, then error) error {
	switch {
	case first == nil:
		return then
	case then == nil:
		return first
	}
	return fmt.Errorf("%w; %w", first, then)
}

// version is the commit this program was built from.
func version() string {
	if commit != "" {
		return commit
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}

// progress tells on standard error what long work does now, a line a step: it must be readable in a log as well.
type progress struct {
	to    io.Writer
	of, n int
}

func (p *progress) step(format string, args ...any) {
	p.n++
	fmt.Fprintf(p.to, "[%d/%d] %s\n", p.n, p.of, fmt.Sprintf(format, args...))
}
