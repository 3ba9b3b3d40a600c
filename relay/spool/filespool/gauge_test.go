package filespool_test

import (
	"testing"

	"github.com/postern-mail/postern/relay/spool/filespool"
)

func TestFree(t *testing.T) {
	s, err := filespool.Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if n, err := s.Free(); err != nil || n <= 0 {
		t.Errorf("%d bytes free, %v", n, err)
	}
}
