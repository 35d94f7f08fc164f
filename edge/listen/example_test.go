package listen_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"

	"hither/edge/listen"
)

func ExampleListen() {
	front, err := listen.Listen(listen.Config{
		HTTP:    []netip.AddrPort{netip.MustParseAddrPort("127.77.0.1:0")},
		Plain:   http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "hello,", r.URL.Path) }),
		Promise: -1, // nobody waits for an example
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	served := make(chan error)
	go func() { served <- front.Serve() }()

	resp, err := http.Get("http://" + front.HTTP()[0].String() + "/world")
	if err != nil {
		fmt.Println(err)
		return
	}
	io.Copy(os.Stdout, resp.Body)
	resp.Body.Close()

	fmt.Println("drained:", front.Drain(context.Background()))
	fmt.Println("served:", <-served)
	// Output:
	// hello, /world
	// drained: <nil>
	// served: <nil>
}
