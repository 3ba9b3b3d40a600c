package policy

import "sync/atomic"

// Budget is memory that sessions share. A nil Budget has no bound; the zero one
// has nothing to give. It is safe for concurrent use.
type Budget struct{ most, taken atomic.Int64 }

// SetLimit sets how many bytes there are, also for those who have some already.
func (b *Budget) SetLimit(most int64) { b.most.Store(most) }

// Take takes n bytes, if there are so many.
func (b *Budget) Take(n int64) bool { return b.take(n, 1) }

// TakeSpare takes n bytes for what is out of the ordinary, which leaves a
// quarter of all for what is not.
func (b *Budget) TakeSpare(n int64) bool { return b.take(n, 3./4) }

func (b *Budget) take(n int64, share float64) bool {
	if b == nil || float64(b.taken.Add(n)) <= float64(b.most.Load())*share {
		return true
	}
	b.taken.Add(-n)
	return false
}

// Give gives back n bytes that were taken.
func (b *Budget) Give(n int64) {
	if b != nil {
		b.taken.Add(-n)
	}
}

// Has reports whether there are n bytes now.
func (b *Budget) Has(n int64) bool {
	return b == nil || b.taken.Load()+n <= b.most.Load()
}
