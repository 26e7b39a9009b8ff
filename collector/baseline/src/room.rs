//! Growth in steps of an eighth: what is kept of hundreds of workloads for months is not to be half empty, as it would
//! be by doubling, and is added to so seldom that copying it more often costs nothing.

/// What to reserve, beyond `len`, for `more` elements; nothing where the capacity is enough.
pub(crate) const fn for_more(len: usize, capacity: usize, more: usize) -> usize {
    const LEAST: usize = 16;
    if capacity - len >= more {
        return 0;
    }
    let step = len / 8;
    let ahead = if step < LEAST { LEAST } else { step };
    if more > ahead { more } else { ahead }
}

/// Appends an element.
pub fn push<T>(to: &mut Vec<T>, element: T) {
    to.reserve_exact(for_more(to.len(), to.capacity(), 1));
    to.push(element);
}

/// Makes it at least `len` long.
pub(crate) fn lengthen<T: Clone>(vec: &mut Vec<T>, len: usize, with: T) {
    if let Some(more) = len.checked_sub(vec.len()) {
        vec.reserve_exact(for_more(vec.len(), vec.capacity(), more));
        vec.resize(len, with);
    }
}
