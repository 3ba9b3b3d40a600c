package filespool

// slab is an array that grows without being copied and reuses what was dropped.
type slab[T any] struct {
	chunks [][]T
	free   []uint32
	used   uint32
}

const slabBits = 12

func (s *slab[T]) get(i uint32) *T { return &s.chunks[i>>slabBits][i&(1<<slabBits-1)] }

func (s *slab[T]) add(v T) uint32 {
	var i uint32
	if n := len(s.free); n > 0 {
		i, s.free = s.free[n-1], s.free[:n-1]
	} else {
		i = s.used
		if i>>slabBits == uint32(len(s.chunks)) {
			s.chunks = append(s.chunks, make([]T, 1<<slabBits))
		}
		s.used++
	}
	*s.get(i) = v
	return i
}

func (s *slab[T]) drop(i uint32) {
	var zero T
	*s.get(i) = zero
	s.free = append(s.free, i)
}

func (s *slab[T]) len() int { return int(s.used) - len(s.free) }
