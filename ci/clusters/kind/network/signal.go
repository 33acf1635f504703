package main

// changeSignal signals a change. Several raises before it is taken count as one.
type changeSignal chan struct{}

func newSignal() changeSignal { return make(changeSignal, 1) }

func (s changeSignal) raise() {
	select {
	case s <- struct{}{}:
	default: // raised already
	}
}
