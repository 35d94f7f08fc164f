package main

import (
	"errors"
	"fmt"
	"io"
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

// checkPicture finds out whether there is a place for the picture; "" asks for none.
func checkPicture(svg string) error {
	if svg == "" {
		return nil
	}
	if info, err := os.Stat(filepath.Dir(svg)); err != nil || !info.IsDir() {
		return fmt.Errorf("--svg %s: %s is not a folder", svg, filepath.Dir(svg))
	}
	return nil
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
