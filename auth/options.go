package auth

import "time"

// valueOf returns a copy of options, which are the zero ones if there are none.
func valueOf[T any](o *T) (own T) {
	if o != nil {
		own = *o
	}
	return own
}

func setDefault[T int | time.Duration](v *T, to T) {
	if *v <= 0 {
		*v = to
	}
}
