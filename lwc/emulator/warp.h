/* What the lanes of a warp exchange. A line of the source is where they meet. */
#pragma once
#include "block.h"

namespace lwc {

/* Waits for the lanes of `lanes` that come to this line; gives those that came. */
static inline unsigned meet(int line, unsigned lanes)
{
    leave(FOR_WARP, line, lanes);
    return running.current->lanes;
}

/* The value of the lane `source` among those in `lanes`; the own one where that is not among them. */
template <class T> static T exchange(int line, unsigned lanes, T value, unsigned source)
{
    fiber *self = running.current;
    unsigned turn = self->turn++ & 1;
    memcpy(&self->exchanged[turn], &value, sizeof(T));
    meet(line, lanes);
    fiber *first = running.fibers + (self - running.fibers) / WARP * WARP;
    if (lanes >> source & 1)
        memcpy(&value, &first[source].exchanged[turn], sizeof(T));
    return value;
}

static inline unsigned lane()
{
    return (unsigned)(running.current - running.fibers) % WARP;
}

template <class T> static T shuffle_down(int line, unsigned lanes, T value, unsigned delta, unsigned width = WARP)
{
    unsigned own = lane(), source = own + delta;
    return exchange(line, lanes, value, own % width + delta < width ? source : own);
}

template <class T> static T shuffle_up(int line, unsigned lanes, T value, unsigned delta, unsigned width = WARP)
{
    unsigned own = lane();
    return exchange(line, lanes, value, own % width >= delta ? own - delta : own);
}

template <class T> static T shuffle_xor(int line, unsigned lanes, T value, unsigned mask, unsigned width = WARP)
{
    unsigned own = lane(), source = own ^ mask;
    return exchange(line, lanes, value, source / width == own / width ? source : own);
}

template <class T> static T shuffle(int line, unsigned lanes, T value, unsigned source, unsigned width = WARP)
{
    return exchange(line, lanes, value, lane() / width * width + source % width);
}

} // namespace lwc

#define __syncwarp(...) lwc::meet(__LINE__, __activemask())
#define __activemask() lwc::meet(__LINE__, 0)
#define __shfl_sync(...) lwc::shuffle(__LINE__, __VA_ARGS__)
#define __shfl_up_sync(...) lwc::shuffle_up(__LINE__, __VA_ARGS__)
#define __shfl_down_sync(...) lwc::shuffle_down(__LINE__, __VA_ARGS__)
#define __shfl_xor_sync(...) lwc::shuffle_xor(__LINE__, __VA_ARGS__)
