// Turns the (rows, columns) matrix of each image, through a tile in shared memory: reads and writes are both in order.
#include "common.cuh"

#define SIDE 32
#define ROWS 8

KERNEL(256) rebit_turn(unsigned rows, unsigned columns, const float *src, float *dst, bool add) {
    // One column more than needed: a column of the tile then lies in 32 different banks.
    __shared__ float tile[SIDE][SIDE + 1];
    size_t image = (size_t)blockIdx.z * rows * columns;
    unsigned column = blockIdx.x * SIDE + threadIdx.x, row = blockIdx.y * SIDE + threadIdx.y;
    for (unsigned k = 0; k < SIDE; k += ROWS)
        if (row + k < rows && column < columns)
            tile[threadIdx.y + k][threadIdx.x] = src[image + (size_t)(row + k) * columns + column];
    __syncthreads();
    column = blockIdx.y * SIDE + threadIdx.x;
    row = blockIdx.x * SIDE + threadIdx.y;
    for (unsigned k = 0; k < SIDE; k += ROWS)
        if (row + k < columns && column < rows) {
            float &to = dst[image + (size_t)(row + k) * rows + column];
            float value = tile[threadIdx.x][threadIdx.y + k];
            to = add ? to + value : value;
        }
}
