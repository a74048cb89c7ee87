package main

import (
	"context"
)

// situation is a fault that is a state of the world, not a moment.
type situation struct {
	name, says, operator string
	run                  func(ctx context.Context, b *bench) (result, error)
}

const situation0 = "other"

var situations = []situation{}
