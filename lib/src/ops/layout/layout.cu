// Turns the (rows, columns) matrix of each image, through a tile in shared memory: reads and writes are both in order.
#include "common.cuh"

#define SIDE 32
#define ROWS 8

/// `tiles` of all images, which a block takes one after the other: an image may have more rows of tiles than a grid.
KERNEL(256) rebit_turn(size_t tiles, unsigned rows, unsigned columns, const float *src, float *dst, bool add) {
    // One column more than needed: a column of the tile then lies in 32 different banks.
    __shared__ float tile[SIDE][SIDE + 1];
    unsigned across = (columns + SIDE - 1) / SIDE, down = (rows + SIDE - 1) / SIDE;
    for (size_t t = blockIdx.x; t < tiles; t += gridDim.x) {
        unsigned left = (unsigned)(t % across) * SIDE, top = (unsigned)(t / across % down) * SIDE;
        size_t image = t / across / down * rows * columns;
        unsigned column = left + threadIdx.x, row = top + threadIdx.y;
        for (unsigned k = 0; k < SIDE; k += ROWS)
            if (row + k < rows && column < columns)
                tile[threadIdx.y + k][threadIdx.x] = src[image + (size_t)(row + k) * columns + column];
        __syncthreads();
        column = top + threadIdx.x;
        row = left + threadIdx.y;
        for (unsigned k = 0; k < SIDE; k += ROWS)
            if (row + k < columns && column < rows) {
                float &to = dst[image + (size_t)(row + k) * rows + column];
                float value = tile[threadIdx.x][threadIdx.y + k];
                to = add ? to + value : value;
            }
        // The tile may still be being read.
        __syncthreads();
    }
}
