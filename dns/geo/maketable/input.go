package main

import (
	"bufio"
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"hither/dns/geo"
)

//go:embed weights.txt
var weights []byte

// input is what a table is made of, each as its file has it.
type input struct{ geoip, geoip6, zones, weights []byte }

// renamed are codes that registries still have of countries which have another one now.
var renamed = map[string]string{
	"AN": "CW", // Netherlands Antilles: its largest island
	"CS": "RS", // Serbia and Montenegro
	"SU": "RU", // Soviet Union
	"UK": "GB",
}

// everywhere are prefixes that stand for IPv4 addresses or relays all over the world, whatever a registry says of them.
var everywhere = []netip.Prefix{
	netip.MustParsePrefix("2002::/16"),     // 6to4, RFC 3056
	netip.MustParsePrefix("2001::/32"),     // Teredo, RFC 4380
	netip.MustParsePrefix("64:ff9b::/96"),  // NAT64, RFC 6052
	netip.MustParsePrefix("::ffff:0:0/96"), // IPv4
}

// atlas puts the files together.
func (in *input) atlas() (*geo.Atlas, error) {
	towns, err := in.towns()
	if err != nil {
		return nil, err
	}
	four, err := lines(in.geoip, "geoip", "IPv4", towns)
	if err != nil {
		return nil, err
	}
	six, err := lines(in.geoip6, "geoip6", "IPv6", towns)
	if err != nil {
		return nil, err
	}
	countries := place(towns, four)
	notes, err := in.notes()
	if err != nil {
		return nil, err
	}
	return geo.NewAtlas(notes, countries, append(four, six...))
}

// lines reads ranges. Those of a code without a town are left out, as nobody can say where they are: "??", and codes of no
// country on Earth.
func lines(data []byte, name, family string, towns map[string][]town) ([]geo.Range, error) {
	var ranges []geo.Range
	err := each(data, func(n int, text string) error {
		fields := strings.Split(text, ",")
		if len(fields) != 3 {
			return fmt.Errorf("%s:%d: not first,last,country", name, n)
		}
		var ends [2]netip.Addr
		for i := range ends {
			var err error
			if ends[i], err = address(fields[i]); err != nil {
				return fmt.Errorf("%s:%d: %w", name, n, err)
			}
			if ends[i].Is4() != (family == "IPv4") {
				return fmt.Errorf("%s:%d: %s is not %s", name, n, ends[i], family)
			}
		}
		first, last, code := ends[0], ends[1], fields[2]
		if now, ok := renamed[code]; ok {
			code = now
		}
		for _, p := range everywhere {
			if p.Contains(first) || p.Contains(last) {
				return nil
			}
		}
		if len(towns[code]) > 0 {
			ranges = append(ranges, geo.Range{First: first, Last: last, Country: code})
		}
		return nil
	})
	return ranges, err
}

// address reads an address, or IPv4 as a number.
func address(s string) (netip.Addr, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return netip.ParseAddr(s)
	}
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}), nil
}

// notes says in the table what it is made of; the files of ranges bring their date and licence in their comments.
func (in *input) notes() (string, error) {
	made := map[string]string{}
	for _, f := range []struct {
		name string
		data []byte
	}{{"geoip", in.geoip}, {"geoip6", in.geoip6}} {
		for _, key := range []string{"Vendor:", "Generated:", "License:"} {
			value := comment(f.data, key)
			if value == "" {
				return "", fmt.Errorf("%s: no comment %q: whose data is it?", f.name, key)
			}
			if was, ok := made[key]; ok && was != value {
				return "", fmt.Errorf("geoip6: %s %s, but geoip has %s", key, value, was)
			}
			made[key] = value
		}
	}
	return fmt.Sprintf(`ranges: %s, location database of %s, licence %s (https://location.ipfire.org/, by way of Tor's geoip and geoip6)
towns: zone.tab of the tz database, public domain; hither's dns/geo/maketable/weights.txt
this table is derived from them and under the licence of the ranges`, made["Vendor:"], made["Generated:"], made["License:"]), nil
}

// comment is what stands behind key in a comment.
func comment(data []byte, key string) string {
	for line := range bytes.Lines(data) {
		if value, ok := strings.CutPrefix(strings.TrimLeft(string(line), "# "), key); ok && line[0] == '#' {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// each calls f with the lines that are neither empty nor comments, and their number.
func each(data []byte, f func(n int, text string) error) error {
	if len(data) == 0 {
		return errors.New("an empty file")
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		if text := strings.TrimSpace(lines.Text()); text != "" && text[0] != '#' {
			if err := f(n, text); err != nil {
				return err
			}
		}
	}
	return lines.Err()
}
