//go:build !nogeo

package geo_test

import (
	"net/netip"
	"testing"

	"hither/dns/geo"
)

func TestSchemas(t *testing.T) {
	berlin, names := geo.Point{Lat: 52.52, Lon: 13.405}, fields{"en": "Germany", "de": "Deutschland"}
	cases := []struct {
		what    string
		record  fields
		point   geo.Point
		country string
		source  geo.Source
	}{
		{"GeoLite2 City", fields{"city": fields{"geoname_id": uint32(2950159), "names": fields{"en": "Berlin"}}, "continent": fields{"code": "EU"},
			"country":  fields{"geoname_id": uint32(2921044), "is_in_european_union": true, "iso_code": "DE", "names": names},
			"location": fields{"accuracy_radius": uint16(20), "latitude": 52.52, "longitude": 13.405, "time_zone": "Europe/Berlin"},
			"postal":   fields{"code": "10115"}, "subdivisions": []any{fields{"iso_code": "BE"}}, "registered_country": fields{"iso_code": "US"}},
			berlin, "DE", geo.SourceMMDB},
		{"GeoLite2 Country", fields{"country": fields{"iso_code": "DE", "names": names}, "registered_country": fields{"iso_code": "FR"}},
			point(t, "DE"), "DE", geo.SourceMMDB},
		{"GeoIP2, registered only", fields{"continent": fields{"code": "EU"}, "registered_country": fields{"iso_code": "FR", "names": names}},
			point(t, "FR"), "FR", geo.SourceMMDB},
		{"DB-IP City Lite", fields{"city": fields{"names": fields{"en": "Berlin"}}, "country": fields{"iso_code": "DE", "names": names},
			"location": fields{"latitude": float32(52.5), "longitude": float32(13.25)}}, geo.Point{Lat: 52.5, Lon: 13.25}, "DE", geo.SourceMMDB},
		{"DB-IP, place unknown", fields{"country": fields{"iso_code": "DE"}, "location": fields{"latitude": 0.0, "longitude": 0.0}},
			point(t, "DE"), "DE", geo.SourceMMDB},
		{"IPinfo location", fields{"city": "Berlin", "country": "DE", "lat": "52.52", "lng": "13.405", "postal": "10115"}, berlin, "DE", geo.SourceMMDB},
		{"IPinfo loc", fields{"city": "Berlin", "country": "DE", "loc": "52.52,13.405"}, berlin, "DE", geo.SourceMMDB},
		{"IPinfo Lite", fields{"asn": "AS3320", "continent": "Europe", "continent_code": "EU", "country": "Germany", "country_code": "DE"},
			point(t, "DE"), "DE", geo.SourceMMDB},
		{"IPinfo country", fields{"country": "DE", "country_name": "Germany"}, point(t, "DE"), "DE", geo.SourceMMDB},
		{"flat city", fields{"city": "Berlin", "country_code": "de", "latitude": 52.52, "longitude": 13.405}, berlin, "DE", geo.SourceMMDB},
		{"whole degrees", fields{"country_code": "DE", "latitude": uint16(52), "longitude": int32(-13)}, geo.Point{Lat: 52, Lon: -13}, "DE", geo.SourceMMDB},
		{"coordinates only", fields{"lat": 52.52, "lon": 13.405}, berlin, "", geo.SourceMMDB},
		{"one coordinate", fields{"country": "DE", "lat": "52.52"}, point(t, "DE"), "DE", geo.SourceMMDB},
		{"not on Earth", fields{"country": "DE", "lat": "152.52", "lng": "13.405"}, point(t, "DE"), "DE", geo.SourceMMDB},
		{"not a number", fields{"country": "DE", "lat": "NaN", "lng": "Inf", "loc": "somewhere, else"}, point(t, "DE"), "DE", geo.SourceMMDB},
		{"fields of other kinds", fields{"country": []any{"DE"}, "country_code": true, "latitude": fields{"deg": 1.0}, "loc": uint32(7)}, geo.Point{}, "", geo.SourceNone},
		{"a country that nobody knows", fields{"country": "QQ"}, geo.Point{}, "", geo.SourceNone},
	}
	for _, c := range cases {
		for _, six := range []bool{false, true} {
			m := &mmdb{kind: c.what, six: six, size: 28}
			m.add("81.2.64.0/20", c.record)
			m.add("10.0.0.0/8", fields{"lat": "1", "lng": "2"}) // so that the file knows a place at all
			f := geo.New(nil, open(t, m)).Lookup(netip.MustParseAddr("81.2.69.1"))
			matched := "81.2.64.0/20"
			if c.source == geo.SourceNone {
				matched = "64.0.0.0/2" // nothing known is one with the gap around it
			}
			if f.Point != c.point || f.Country != c.country || f.Source != c.source || f.Matched.String() != matched || f.Bits != f.Matched.Bits() {
				t.Errorf("%s: %+v, want %v %s", c.what, f, c.point, c.country)
			}
		}
	}
}
