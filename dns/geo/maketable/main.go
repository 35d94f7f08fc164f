// Command maketable makes the table of countries that package geo has in it. It reads three files and writes one; equal
// input gives equal output:
//
//	go run ./dns/geo/maketable -geoip ../shared/data/geoip -geoip6 ../shared/data/geoip6 -zones ../shared/data/zone.tab -o dns/geo/table.bin
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	if err := run(os.Args[1:], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "maketable:", err)
		os.Exit(1)
	}
}

// run reads the files that args name, writes the table, and says on stderr what is in it.
func run(args []string, stderr io.Writer) error {
	flags := flag.NewFlagSet("maketable", flag.ContinueOnError)
	flags.SetOutput(stderr)
	geoip := flags.String("geoip", "", "ranges of IPv4 `FILE`: first,last,country, addresses as numbers")
	geoip6 := flags.String("geoip6", "", "ranges of IPv6 `FILE`: first,last,country")
	zones := flags.String("zones", "", "zone.tab of the tz database `FILE`: a town of each country")
	out := flags.String("o", "", "table to write `FILE`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *geoip == "" || *geoip6 == "" || *zones == "" || *out == "" || flags.NArg() > 0 {
		flags.Usage()
		return fmt.Errorf("-geoip, -geoip6, -zones and -o are all needed, and nothing else")
	}
	var in input
	for path, into := range map[string]*[]byte{*geoip: &in.geoip, *geoip6: &in.geoip6, *zones: &in.zones} {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		*into = data
	}
	in.weights = weights
	atlas, err := in.atlas()
	if err != nil {
		return err
	}
	data := atlas.Encode()
	fmt.Fprintf(stderr, "%s\n%d countries, %d bytes\n", atlas.Notes(), len(atlas.Countries()), len(data))
	return os.WriteFile(*out, data, 0o644)
}
