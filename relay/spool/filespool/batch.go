package filespool

// op is one record of a batch.
type op struct {
	at, size int // in the batch
	// keep tells that the record is written again if the batch fails.
	keep bool
	// done is called with the store locked when the fate of the record is
	// known.
	done func(at loc, err error)
	seq  uint64 // of the record, once it is written
	x    *extras
}

// batch gathers records.
type batch struct {
	buf   []byte
	ops   []op
	files bool          // some content has a new file of its own
	done  chan struct{} // closed when every op is
}

func newBatch(buf []byte) *batch { return &batch{buf: buf[:0], done: make(chan struct{})} }

// record is what goes into a batch.
type record struct {
	kind       byte
	meta       []byte
	content    [2][]byte
	contentSum uint32
	keep       bool
	done       func(at loc, err error)
	extras
}

// size is the length of the record.
func (r *record) size() int64 {
	return recordSize(uint32(len(r.meta)), uint32(r.contentSize()))
}

func (r *record) contentSize() int { return len(r.content[0]) + len(r.content[1]) }

// add appends a record; what is missing in its header is known when it is
// written.
func (b *batch) add(r *record) {
	h := header{
		kind: r.kind, version: version,
		meta: uint32(len(r.meta)), content: uint32(r.contentSize()),
		metaSum: sum(r.meta), contentSum: r.contentSum,
	}
	at := len(b.buf)
	b.buf = append(b.buf, make([]byte, headerSize)...)
	h.put(b.buf[at:])
	b.buf = append(b.buf, r.meta...)
	b.buf = append(b.buf, r.content[0]...)
	b.buf = append(b.buf, r.content[1]...)
	size := int(h.size())
	b.buf = append(b.buf, make([]byte, at+size-len(b.buf))...)
	o := op{at: at, size: size, keep: r.keep, done: r.done}
	if len(r.events) > 0 || len(r.claim) > 0 {
		o.x = &extras{r.events, r.claim}
	}
	b.ops = append(b.ops, o)
}

// kept returns the records that outlive a failed batch.
func (b *batch) kept(next *batch) *batch {
	k := newBatch(nil)
	for _, v := range []*batch{b, next} {
		for _, o := range v.ops {
			if v == b && !o.keep {
				continue
			}
			at := len(k.buf)
			k.buf = append(k.buf, v.buf[o.at:o.at+o.size]...)
			o.at = at
			k.ops = append(k.ops, o)
		}
	}
	k.files, k.done = next.files, next.done
	return k
}

// enqueue adds a record to the batch at hand and returns that batch. The caller
// holds the lock.
func (s *Store) enqueue(r *record, urgent bool) *batch {
	s.batch.add(r)
	if urgent {
		s.wake()
	} else if !s.flushing {
		s.flushing = true
		s.timer.Reset(s.delay)
	}
	return s.batch
}
