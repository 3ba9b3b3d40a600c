package sched_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/spool/memspool"
)

// A jump of the wall clock ends no lease, and begins nothing twice.
func TestClockJumpBeginsNothingTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var by atomic.Int64
		store := memspool.New(&memspool.Options{Now: func() time.Time {
			return time.Now().Add(time.Duration(by.Load()))
		}})
		b := newBench(t, store)
		each(t, store, "app", []string{"mx/slow", "send/slow", "mailbox/slow"})
		time.AfterFunc(10*time.Second, func() { by.Store(int64(2 * time.Hour)) })
		time.AfterFunc(30*time.Second, func() { by.Store(int64(5 * time.Hour)) })
		time.AfterFunc(40*time.Second, func() { by.Store(int64(-time.Hour)) })
		b.run(t, 10*time.Minute)
		for route, n := range b.count {
			if n != 1 || b.peak[route] != 1 {
				t.Errorf("%s: %d attempts, %d at once", route, n, b.peak[route])
			}
		}
		if stats, err := store.Stats(t.Context()); err != nil || stats.Messages != 0 {
			t.Errorf("left: %+v (%v)", stats, err)
		}
	})
}
