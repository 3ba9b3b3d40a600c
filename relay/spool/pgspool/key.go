package pgspool

import (
	"crypto/sha256"
	"encoding/binary"
	"math"

	"github.com/postern-mail/postern/relay/spool"
)

// digest is what stands for a key in an index. What a delivery's key is, its
// columns alone say.
func digest(k spool.Key) int64 {
	var room [192]byte
	b := room[:0]
	for _, part := range [...]string{k.Route, k.Domain, k.Stream} {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}
	sum := sha256.Sum256(b)
	return max(int64(binary.BigEndian.Uint64(sum[:8])), math.MinInt64+1) // the scan begins below
}
