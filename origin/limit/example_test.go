package limit_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hither/origin/limit"
)

func Example() {
	l := limit.New(limit.Config{Concurrent: 1})
	ctx := context.Background()

	pass, err := l.Enter(ctx, limit.Foreground)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = l.Enter(ctx, limit.Background)
	var refusal *limit.Refusal
	if errors.As(err, &refusal) {
		fmt.Println(refusal.Status(), refusal.Why)
	}
	pass.Leave(limit.Sample{FirstByte: 20 * time.Millisecond, Good: true})
	fmt.Println(l.Status().In, "under way")
	// Output:
	// 503 background
	// 0 under way
}
