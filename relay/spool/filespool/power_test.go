package filespool_test

import (
	"testing"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
	"github.com/postern-mail/postern/relay/spool/spooltest"
)

// TestPowerLoss runs the suite on a disk that forgets what was not synced.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	spooltest.RunCrash(t, func(t *testing.T) func() spool.Store {
		disk, dir := filespool.NewDisk(uint64(len(t.Name()))), t.TempDir()
		var s *filespool.Store
		return func() spool.Store {
			if s != nil {
				disk.Crash()
				s.Close()
			}
			s = openDisk(t, dir, disk)
			return s
		}
	})
}
