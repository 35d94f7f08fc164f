package geo

import (
	"math"
	"strconv"
	"strings"

	"github.com/oschwald/maxminddb-golang/v2/mmdbdata"
)

// record has the fields of all schemas that OpenMMDB knows; a file has some of them.
type record struct {
	Location struct {
		Latitude  number `maxminddb:"latitude"`
		Longitude number `maxminddb:"longitude"`
	} `maxminddb:"location"`
	Latitude   number  `maxminddb:"latitude"`
	Longitude  number  `maxminddb:"longitude"`
	Lat        number  `maxminddb:"lat"`
	Lng        number  `maxminddb:"lng"`
	Lon        number  `maxminddb:"lon"`
	Loc        country `maxminddb:"loc"`
	Code       country `maxminddb:"country_code"`
	Country    country `maxminddb:"country"`
	Registered country `maxminddb:"registered_country"`
}

// place is where the record says, else its country's point; false with the country where neither is known.
func (r *record) place() (place, bool) {
	at := place{country: r.code()}
	lat, lon := r.Loc.pair()
	for _, pair := range [][2]number{{r.Location.Latitude, r.Location.Longitude}, {r.Latitude, r.Longitude}, {r.Lat, r.Lng}, {r.Lat, r.Lon}, {lat, lon}} {
		if point, ok := pointOf(pair[0], pair[1]); ok {
			at.point = point
			return at, true
		}
	}
	var ok bool
	at.point, ok = countries().point(at.country)
	return at, ok
}

// code is the ISO code, preferring fields that hold nothing else: IPinfo has names in `country` where it has a `country_code`.
func (r *record) code() string {
	for _, c := range []country{r.Code, r.Country, r.Registered} {
		if c := strings.ToUpper(string(c)); len(c) == 2 && 'A' <= c[0] && c[0] <= 'Z' && 'A' <= c[1] && c[1] <= 'Z' {
			return c
		}
	}
	return ""
}

func pointOf(lat, lon number) (Point, bool) {
	if !lat.set || !lon.set || !(math.Abs(lat.value) <= 90) || !(math.Abs(lon.value) <= 180) || lat.value == 0 && lon.value == 0 {
		return Point{}, false
	}
	return Point{Lat: lat.value, Lon: lon.value}, true
}

// number is a coordinate, written as a number or as text. Anything else is as if it were absent.
type number struct {
	value float64
	set   bool
}

// UnmarshalMaxMindDBCursor implements mmdbdata.CursorUnmarshaler.
func (n *number) UnmarshalMaxMindDBCursor(c mmdbdata.Cursor) (mmdbdata.Cursor, error) {
	kind, err := c.Kind()
	if err != nil {
		return c, err
	}
	var next mmdbdata.Cursor
	switch kind {
	case mmdbdata.KindFloat64, mmdbdata.KindFloat32:
		n.value, next, err = c.ReadFloat()
		n.set = err == nil
	case mmdbdata.KindInt32:
		var v int32
		v, next, err = c.ReadInt32()
		n.value, n.set = float64(v), err == nil
	case mmdbdata.KindUint16, mmdbdata.KindUint32:
		var v uint64
		v, next, err = c.ReadUint()
		n.value, n.set = float64(v), err == nil
	case mmdbdata.KindString:
		var s string
		s, next, err = c.ReadString()
		*n = parse(s)
	default:
		next, err = c.Skip()
	}
	return next, err
}

func parse(s string) number {
	v, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	return number{value: v, set: err == nil}
}

// country is a text, or a map with the text in `iso_code`. Anything else is as if it were absent.
type country string

// UnmarshalMaxMindDBCursor implements mmdbdata.CursorUnmarshaler.
func (t *country) UnmarshalMaxMindDBCursor(c mmdbdata.Cursor) (mmdbdata.Cursor, error) {
	kind, err := c.Kind()
	if err != nil {
		return c, err
	}
	switch kind {
	case mmdbdata.KindString:
		s, next, err := c.ReadString()
		*t = country(s)
		return next, err
	case mmdbdata.KindMap:
		return t.inMap(c)
	}
	return c.Skip()
}

func (t *country) inMap(c mmdbdata.Cursor) (mmdbdata.Cursor, error) {
	fields, err := c.Map()
	if err != nil {
		return c, err
	}
	var next mmdbdata.Cursor
	for key, value, ok := fields.Next(next); ok; key, value, ok = fields.Next(next) {
		if kind, _ := value.Kind(); string(key) == "iso_code" && kind == mmdbdata.KindString {
			var s string
			s, next, err = value.ReadString()
			*t = country(s)
		} else {
			next, err = value.Skip()
		}
		if err != nil {
			return c, err
		}
	}
	return fields.End()
}

// pair reads IPinfo's "lat,lng".
func (t country) pair() (lat, lon number) {
	north, east, ok := strings.Cut(string(t), ",")
	if !ok {
		return number{}, number{}
	}
	return parse(north), parse(east)
}
