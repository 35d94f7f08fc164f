package ops_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"

	"hither/deploy/ops"
)

func ExampleAdmin() {
	dir, err := os.MkdirTemp("", "state-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)

	admin := ops.NewAdmin()
	admin.Handle("GET /v1/status", func(*http.Request) (string, any, error) {
		return "status", map[string]any{"node": "edge-fra", "state": ops.Ready}, nil
	})
	if err := admin.Open(dir); err != nil {
		fmt.Println(err)
		return
	}
	defer admin.Close(context.Background())

	var doc json.RawMessage
	if err := ops.Dial(dir).Get(context.Background(), "/v1/status", &doc); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(string(doc))
	// Output: {"schema":"hither/status/1","node":"edge-fra","state":"ready"}
}
