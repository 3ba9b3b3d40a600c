package simtest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/internal/simtest"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// memory is a machine that never fails.
type memory struct{}

func (memory) Open() (spool.Store, error) { return memspool.New(nil), nil }
func (memory) Stop(bool)                  {}
func (memory) Fail()                      {}
func (memory) Lack()                      {}
func (memory) Fill()                      {}
func (memory) Mend()                      {}

// TestMemory lives through peers, networks and a DNS that fail, with a queue in
// memory.
func TestMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		simtest.New(
			t, memory{}, simtest.Plan{Seed: 1, Messages: 120, Lasts: 20 * time.Minute},
		).Run()
	})
}
