package load

import (
	"strings"
	"testing"
	"time"
)

func TestAlarm(t *testing.T) {
	a, err := newAlarm()
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for range 20 {
		if err := a.sleep(200 * time.Microsecond); err != nil {
			t.Fatal(err)
		}
	}
	if d := time.Since(start); d < 4*time.Millisecond {
		t.Errorf("20 times 200µs took %v: it does not sleep", d)
	}
	a.close()
	if err := a.sleep(time.Millisecond); err == nil || !strings.Contains(err.Error(), "load: set a timer: ") {
		t.Errorf("once closed: %v", err)
	}
}
