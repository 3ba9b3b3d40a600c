package filespool

import (
	"errors"

	"github.com/postern-mail/postern/relay/spool"
)

var _ spool.Gauge = (*Store)(nil)

var errNoFree = errors.New("filespool: the room left on the disk is not known")

// Free returns the bytes left on the disk of the directory.
func (s *Store) Free() (int64, error) {
	n := s.fs.Free(s.dir)
	if n < 0 {
		return 0, errNoFree
	}
	return n, nil
}
