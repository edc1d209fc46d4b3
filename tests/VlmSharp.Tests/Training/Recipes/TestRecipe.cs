using System.Text;
using VlmSharp.Formats;
using VlmSharp.Training.Recipes;

namespace VlmSharp.Tests.Training.Recipes;

static class TestRecipe
{
    public static TrainingRecipe Of(string json) =>
        RecipeReader.Read(JsonObjectReader.Parse("recipe.json", Encoding.UTF8.GetBytes(json), comments: true));
}
