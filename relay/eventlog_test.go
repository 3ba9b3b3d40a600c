package relay_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

func TestEventLogFaults(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		store     spool.Store
		retention time.Duration
		want      bool
	}{
		{newLogStore(), 0, true},
		{newLogStore(), time.Hour, true},
		{newLogStore(), -1, false},
		{newLogStore(), 30, false}, // nanoseconds, where days were meant
		{struct{ spool.Store }{memspool.New(nil)}, 0, true},
		{struct{ spool.Store }{memspool.New(nil)}, time.Hour, false},
	} {
		_, err := relay.New(relay.Config{
			Hostname: "a.test", Spool: tt.store,
			EventLog: relay.EventLog{Retention: tt.retention},
		})
		fault, ok := errors.AsType[*postern.FieldError](err)
		if (err == nil) != tt.want || err != nil && (!ok || fault.Field != "EventLog.Retention") {
			t.Errorf("%T for %v: %v", tt.store, tt.retention, err)
		}
	}
}

func TestOldEventsAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t)
		f.add("a")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- f.relay.Run(ctx) }()
		time.Sleep(23 * time.Hour)
		if oldest, _, _ := f.Bounds(ctx); oldest != 0 {
			t.Error("an event was dropped too soon")
		}
		time.Sleep(3 * time.Hour)
		if oldest, _, _ := f.Bounds(ctx); oldest != 10 {
			t.Error("an old event stays")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
