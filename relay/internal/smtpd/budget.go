package smtpd

import "sync/atomic"

// Budget is memory that sessions share. A nil Budget has no bound; the zero one
// has nothing to give. It is safe for concurrent use.
type Budget struct{ most, taken atomic.Int64 }

// SetLimit sets how many bytes there are, also for those who have some already.
func (b *Budget) SetLimit(most int64) { b.most.Store(most) }

// Take takes n bytes, if there are so many.
func (b *Budget) Take(n int64) bool {
	if b == nil || b.taken.Add(n) <= b.most.Load() {
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

// recipientMemory is about what an accepted recipient takes up beside its
// address, in the session and in the message that is made of it.
const recipientMemory = 512

// memory is what a recipient counts in a Budget.
func (rc *Rcpt) memory() int64 {
	return recipientMemory + 2*int64(len(rc.To.String())+len(rc.Original))
}

func noMemory() *Reply { return refusal(452, "4.3.1", "Insufficient system resources") }
