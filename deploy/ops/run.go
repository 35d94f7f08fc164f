package ops

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// Run runs serve until it returns, and answers the process's signals meanwhile:
//
//   - SIGTERM, SIGINT: the context of serve ends, with a cause that names the signal.
//     serve then drains and returns. A second one ends the process at once, by the
//     signal's default action.
//   - SIGHUP: reload is called, in a goroutine of its own; further ones that arrive
//     meanwhile are answered by one more call. Its error is logged and changes nothing:
//     what reload refuses, it leaves as it was. While draining SIGHUP does nothing, nor does
//     it once Run has returned: one that is on its way then must not end the process.
//
// It returns what serve returns, when reload has returned too. Only one Run may be
// active in a process.
func Run(ctx context.Context, log *slog.Logger, reload func() error, serve func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := make(chan os.Signal, 1)
	hangup := make(chan os.Signal, 1) // one waiting SIGHUP stands for all that follow
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	signal.Notify(hangup, syscall.SIGHUP)
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case s := <-stop:
			signal.Stop(stop) // restores the default action for the second one
			log.Info("draining", "signal", s.String())
			cancel(fmt.Errorf("ops: received %v", s))
		case <-ctx.Done():
		}
	})
	wg.Go(func() {
		for {
			select {
			case <-hangup:
				reloadOnce(ctx, log, reload)
			case <-ctx.Done():
				return
			}
		}
	})
	err := serve(ctx)
	cancel(nil)
	wg.Wait()
	signal.Stop(stop)
	return err
}

func reloadOnce(ctx context.Context, log *slog.Logger, reload func() error) {
	if ctx.Err() != nil {
		return
	}
	if err := reload(); err != nil {
		log.Error("reload refused; what was in force stays", "error", err.Error())
		return
	}
	log.Info("reloaded")
}
