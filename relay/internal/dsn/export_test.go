package dsn

// SetBoundary makes what Write writes the same every time.
func (r *Report) SetBoundary(s string) { r.boundary = s }
