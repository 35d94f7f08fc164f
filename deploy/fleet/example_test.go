package fleet_test

import (
	"fmt"
	"os"
	"path/filepath"

	"hither/deploy"
	"hither/deploy/fleet"
)

func ExampleInit() {
	out, err := os.MkdirTemp("", "fleet-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(out)
	file := deploy.Example()
	network, err := deploy.Parse("network.yaml", file)
	if err != nil {
		fmt.Println(err)
		return
	}
	changes, err := fleet.Init(network, file, out)
	if err != nil {
		fmt.Println(err)
		return
	}
	id, err := fleet.LoadIdentity(filepath.Join(changes[0].Dir, "identity"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(id, "of", id.Network, "dials", id.ClientTLS(fleet.RoleOrigin, "us").ServerName)
	// Output: edge-fra of demo dials us.origin.demo.hither.internal
}
