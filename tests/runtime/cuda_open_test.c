/* Opens the model and creates a context; prints why that fails, and exits with the status. */
#include "affine.h"

#include <stdio.h>

int main(void)
{
    const lwc_model *model = NULL;
    lwc_context *context = NULL;
    lwc_status status = affine_open(&model);
    if (status == LWC_OK)
        status = affine_create_context(model, 0, &context);
    if (status == LWC_OK)
        status = affine_destroy_context(context);
    if (status != LWC_OK)
        puts(affine_last_error());
    return (int)status;
}
