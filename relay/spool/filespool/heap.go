package filespool

// heap is a binary heap. moved, if set, is told where an item went; -1 is out.
type heap[T any] struct {
	items []T
	less  func(a, b T) bool
	moved func(item T, at int)
}

func (h *heap[T]) len() int { return len(h.items) }
func (h *heap[T]) top() T   { return h.items[0] }

func (h *heap[T]) push(item T) {
	h.items = append(h.items, item)
	h.up(len(h.items) - 1)
}

func (h *heap[T]) pop() T { return h.remove(0) }

func (h *heap[T]) remove(i int) T {
	item, last := h.items[i], len(h.items)-1
	h.put(i, h.items[last])
	var none T
	h.items[last] = none
	h.items = h.items[:last]
	if i < last {
		h.fix(i)
	}
	if h.moved != nil {
		h.moved(item, -1)
	}
	// A queue that was long once does not keep its memory.
	if c := cap(h.items); c > 1024 && len(h.items) < c/4 {
		h.items = append(make([]T, 0, c/2), h.items...)
	}
	return item
}

// fix restores the order after the item at i has changed.
func (h *heap[T]) fix(i int) {
	if !h.down(i) {
		h.up(i)
	}
}

func (h *heap[T]) put(i int, item T) {
	h.items[i] = item
	if h.moved != nil {
		h.moved(item, i)
	}
}

func (h *heap[T]) up(i int) {
	item := h.items[i]
	for i > 0 {
		parent := (i - 1) / 2
		if !h.less(item, h.items[parent]) {
			break
		}
		h.put(i, h.items[parent])
		i = parent
	}
	h.put(i, item)
}

func (h *heap[T]) down(i int) bool {
	item, start, n := h.items[i], i, len(h.items)
	for {
		child := 2*i + 1
		if child >= n {
			break
		}
		if child+1 < n && h.less(h.items[child+1], h.items[child]) {
			child++
		}
		if !h.less(h.items[child], item) {
			break
		}
		h.put(i, h.items[child])
		i = child
	}
	h.put(i, item)
	return i > start
}
