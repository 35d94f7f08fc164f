package zone_test

import (
	"fmt"

	"github.com/miekg/dns"

	"hither/dns/zone"
)

func ExampleNew() {
	_, err := zone.New(zone.Config{
		Name:        "hither.test",
		NameServers: []string{"ns1.hither.test"},
		Records:     []string{"ns1 300 A 127.0.0.1", "@ 300 CNAME www.example.org.", "mail 300 MX mail2"},
	})
	fmt.Println(err)
	// Output:
	// records[1]: `hither.test.` has a CNAME beside NS records (name_servers[0]); the zone's own name has records of its own, so write ALIAS instead
	// records[2]: MX record: bad Pref: "mail2"; it is written as in `MX 10 mail`
}

func ExampleZone_Lookup() {
	z, err := zone.New(zone.Config{
		Name:        "hither.test",
		NameServers: []string{"ns1.hither.test"},
		Records:     []string{"ns1 300 A 127.0.0.1", "@ 60 ALIAS www.hither.test.", "*.dev 300 CNAME www"},
		Dynamic:     []zone.DynamicName{{Name: "www.hither.test", Types: []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeHTTPS}, Value: "site www"}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, name := range []string{"NS1.hither.test.", "hither.test.", "a.dev.hither.test.", "nobody.hither.test."} {
		r := z.Lookup(name, dns.TypeA)
		fmt.Println(name, "is", r.Kind, "at", r.Name)
		switch r.Kind {
		case zone.Dynamic:
			fmt.Println("  answered by the caller:", r.Dynamic.Value)
		case zone.Alias:
			fmt.Println("  addresses of", r.Alias.Target)
		}
		for _, rr := range r.Answer {
			fmt.Println(" ", rr)
		}
	}
	// Output:
	// NS1.hither.test. is success at ns1.hither.test.
	//   ns1.hither.test.	300	IN	A	127.0.0.1
	// hither.test. is alias at hither.test.
	//   addresses of www.hither.test.
	// a.dev.hither.test. is dynamic at www.hither.test.
	//   answered by the caller: site www
	//   a.dev.hither.test.	300	IN	CNAME	www.hither.test.
	// nobody.hither.test. is nxdomain at nobody.hither.test.
}
