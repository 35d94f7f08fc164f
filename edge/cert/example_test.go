package cert_test

import (
	"crypto/tls"
	"fmt"

	"hither/edge/cert"
)

func ExampleNewTable() {
	pair := &tls.Certificate{Certificate: [][]byte{{}}, PrivateKey: "a key"} // as Load returns them
	alpn := func(quic bool) []string {
		if quic {
			return []string{"h3"}
		}
		return []string{"h2", "http/1.1"}
	}
	table, err := cert.NewTable(alpn,
		cert.Entry{Names: []string{"www.example.org"}, Domain: "main", Certificate: pair},
		cert.Entry{Names: []string{"*.example.org"}, Domain: "main", Certificate: pair, MinVersion: tls.VersionTLS12},
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	names := cert.NewNames(table, cert.NewTickets(0, nil))
	for _, name := range []string{"WWW.example.org", "img.example.org", "example.net"} {
		conf, _ := names.Config(&tls.ClientHelloInfo{ServerName: name}, false)
		fmt.Println(name, tls.VersionName(conf.MinVersion), conf.NextProtos)
	}
	// Output:
	// WWW.example.org TLS 1.3 [h2 http/1.1]
	// img.example.org TLS 1.2 [h2 http/1.1]
	// example.net TLS 1.2 []
}

func ExampleFolderName() {
	fmt.Println(cert.FolderName("*.Example.org"), cert.FolderName("../x"))
	// Output: %2A.example.org %2E%2E%2Fx
}
