package filespool_test

import (
	"log/slog"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/internal/simtest"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
)

// machine is a computer with a disk that fails as it is told.
type machine struct {
	dir    string
	disk   *filespool.Disk
	said   *strings.Builder // by the store, for who looks into a failure
	random *rand.Rand
}

func newMachine(t *testing.T, seed uint64) *machine {
	return &machine{
		dir: t.TempDir(), disk: filespool.NewDisk(seed), said: new(strings.Builder),
		random: rand.New(rand.NewPCG(seed, 3)),
	}
}

func (m *machine) Open() (spool.Store, error) {
	return filespool.OpenFS(m.dir, &filespool.Options{
		SegmentBytes: 256 << 10, Threshold: 16 << 10,
		Logger: slog.New(slog.NewTextHandler(m.said, nil)),
	}, m.disk)
}

func (m *machine) Stop(powerLost bool) {
	if powerLost {
		m.disk.Crash()
	} else {
		m.disk.Kill()
	}
}

func (m *machine) Fail() {
	m.disk.Fault(func(op, name string) error { // under the lock of the disk
		if m.random.IntN(4) == 0 {
			return syscall.EIO
		}
		return nil
	})
}

func (m *machine) Lack() {
	m.disk.Fault(func(op, name string) error {
		if (op == "open" || op == "opendir" || op == "readdir") && m.random.IntN(2) == 0 {
			return syscall.EMFILE
		}
		return nil
	})
}

func (m *machine) Fill() {
	m.disk.Fault(func(op, name string) error {
		if op == "write" {
			return syscall.ENOSPC
		}
		return nil
	})
}

func (m *machine) Mend() { m.disk.Fault(nil) }

// TestSimulation runs whole relays over a failing disk.
func TestSimulation(t *testing.T) {
	plan := simtest.Plan{Messages: 200, Lasts: 30 * time.Minute, Durable: true}
	simtest.Seeds(t, "./relay/spool/filespool", plan,
		func(t *testing.T, p simtest.Plan) *simtest.World {
			m := newMachine(t, p.Seed)
			t.Cleanup(func() {
				if t.Failed() {
					t.Log(m.said.String())
				}
			})
			return simtest.New(t, m, p)
		})
}
