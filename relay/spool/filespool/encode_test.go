package filespool_test

import (
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
)

// TestFarTimes keeps every time that nanoseconds can express as it is, and for
// others the nearest one.
func TestFarTimes(t *testing.T) {
	first, last := time.Unix(0, -1<<63+1), time.Unix(0, 1<<63-1)
	for _, c := range []struct{ given, want time.Time }{
		{time.Time{}, time.Time{}},
		{time.Unix(0, 0), time.Unix(0, 0)},
		{first, first},
		{first.Add(5), first.Add(5)},
		{last.Add(-5), last.Add(-5)},
		{last, last},
		{first.Add(-1), first},
		{last.Add(1), last},
		{time.Unix(-1<<60, 0), first},
		{time.Unix(1<<60, 0), last},
	} {
		m := spool.Message{Created: c.given, NotBefore: c.given}
		got, ok := filespool.DecodeCommit(filespool.EncodeCommit(&m, nil, nil))
		if !ok || !got.Created.Equal(c.want) || !got.NotBefore.Equal(c.want) {
			t.Errorf("%v has become %v, %v", c.given, got.Created, ok)
		}
	}
}
