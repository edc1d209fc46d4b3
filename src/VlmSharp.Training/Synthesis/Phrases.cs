using VlmSharp.Datasets;

namespace VlmSharp.Training.Synthesis;

/// <summary>Many ways to ask for the same. The first of each list is the fixed one; {0} and {1} are what is asked about.</summary>
static class Phrases
{
    static readonly Dictionary<string, (string[] English, string[] Chinese)> All = new()
    {
        ["read"] = (
            [
                "Read the text.",
                "What does it say?",
                "What is written here?",
                "What is written in the picture?",
                "Transcribe the text.",
                "What text do you see?",
                "Please read what is written.",
                "Write down the text in the picture.",
                "What does the text say?",
                "Read what is in the image.",
                "Can you read this?",
            ],
            [
                "读出文字。",
                "图中写了什么？",
                "请识别图中的文字。",
                "图片里的文字是什么？",
                "写出图中的文字。",
                "上面写着什么？",
                "请读出图片中的内容。",
            ]
        ),
        ["read-lines"] = (
            [
                "Read all lines.",
                "Read the lines from top to bottom.",
                "Transcribe every line of text.",
                "Write down all the text, line by line.",
                "What do the lines say?",
            ],
            ["读出所有行。", "请从上到下逐行读出文字。", "写出图中每一行文字。", "各行写了什么？"]
        ),
        ["read-line"] = (
            [
                "Read line {0}.",
                "What is in line {0}?",
                "What does line {0} say?",
                "Which text stands in line {0}, counted from the top?",
            ],
            ["读出第{0}行。", "第{0}行是什么？", "从上往下数，第{0}行写着什么？"]
        ),
        ["read-box"] = (
            [
                "Read the text in {0}.",
                "What is written in the region {0}?",
                "What does it say at {0}?",
                "Which text is inside {0}?",
            ],
            ["读出{0}中的文字。", "{0}处写了什么？", "区域{0}里的文字是什么？"]
        ),
        ["locate"] = (
            [
                "Where is {0}?",
                "Find {0}.",
                "Locate {0}.",
                "Show me {0}.",
                "In which place is {0}?",
                "Give the box of {0}.",
                "Mark {0} in the picture.",
            ],
            ["{0}在哪里？", "请找出{0}。", "请定位{0}。", "框出{0}。", "图中{0}的位置在哪？"]
        ),
        ["locate-all"] = (
            [
                "Find all {0}.",
                "Where are the {0}?",
                "Locate every one of the {0}.",
                "Mark all {0} from left to right.",
                "Give the boxes of all {0}.",
            ],
            ["找出所有{0}。", "所有{0}在哪里？", "请从左到右框出所有{0}。"]
        ),
        ["count"] = (
            [
                "How many {0}?",
                "How many {0} are there?",
                "Count the {0}.",
                "What is the number of {0}?",
                "How many {0} do you see in the picture?",
                "How many {0} does the image show?",
            ],
            ["有几个{0}？", "图中有多少个{0}？", "数一数{0}的个数。", "图片里一共有几个{0}？"]
        ),
        ["name-shape"] = (
            [
                "Which shape is it?",
                "What shape is this?",
                "What is in the picture?",
                "What do you see?",
                "Name the shape.",
            ],
            ["这是什么形状？", "图中是什么形状？", "图里有什么？", "请说出形状。"]
        ),
        ["name-shape-of"] = (
            ["Which shape is {0}?", "What shape is the {0} one?", "Name the shape that is {0}.", "What is {0}?"],
            ["{0}的是什么形状？", "哪个形状是{0}的？", "请说出{0}的形状。"]
        ),
        ["name-colour"] = (
            [
                "What colour is the {0}?",
                "Which colour does the {0} have?",
                "Name the colour of the {0}.",
                "What is the colour of the {0}?",
                "The {0} is which colour?",
            ],
            ["{0}是什么颜色？", "请说出{0}的颜色。", "图中{0}的颜色是什么？"]
        ),
        ["list-shapes"] = (
            [
                "List the shapes from left to right.",
                "What is in the picture, from left to right?",
                "Name everything from left to right.",
                "Which shapes do you see, starting at the left?",
            ],
            ["从左到右列出形状。", "图中从左到右有什么？", "请从左到右说出所有形状。"]
        ),
        ["exists"] = (
            ["Is there {0}?", "Does the picture show {0}?", "Do you see {0}?", "Can {0} be seen in the image?"],
            ["有{0}吗？", "图中有{0}吗？", "能看到{0}吗？"]
        ),
        ["left"] = (
            [
                "Is the {0} left of the {1}?",
                "Is the {0} to the left of the {1}?",
                "Does the {0} lie on the left side of the {1}?",
            ],
            ["{0}在{1}的左边吗？", "{0}是不是在{1}左侧？"]
        ),
        ["right"] = (
            [
                "Is the {0} right of the {1}?",
                "Is the {0} to the right of the {1}?",
                "Does the {0} lie on the right side of the {1}?",
            ],
            ["{0}在{1}的右边吗？", "{0}是不是在{1}右侧？"]
        ),
        ["above"] = (
            ["Is the {0} above the {1}?", "Is the {0} higher up than the {1}?", "Does the {0} lie above the {1}?"],
            ["{0}在{1}的上面吗？", "{0}是不是在{1}上方？"]
        ),
        ["below"] = (
            ["Is the {0} below the {1}?", "Is the {0} lower down than the {1}?", "Does the {0} lie below the {1}?"],
            ["{0}在{1}的下面吗？", "{0}是不是在{1}下方？"]
        ),
        ["table-cell"] = (
            [
                "What is in row {0}, column {1}?",
                "Read the cell in row {0} and column {1}.",
                "Which value stands in column {1} of row {0}?",
                "What does the cell at row {0}, column {1} contain?",
            ],
            ["第{0}行第{1}列是什么？", "读出第{0}行第{1}列的内容。", "表格第{0}行第{1}列写着什么？"]
        ),
        ["table-named"] = (
            [
                "What does {0} have under {1}?",
                "What is the {1} of {0}?",
                "Look up {1} for {0}.",
                "In the row of {0}, what stands under {1}?",
            ],
            ["{0}的{1}是多少？", "{0}在{1}一栏是什么？", "查一下{0}的{1}。"]
        ),
        ["locate-cell"] = (
            [
                "Where is row {0}, column {1}?",
                "Find the cell in row {0}, column {1}.",
                "Mark the cell at row {0} and column {1}.",
            ],
            ["第{0}行第{1}列在哪里？", "请框出第{0}行第{1}列的单元格。"]
        ),
        ["table-html"] = (
            ["Write the table as HTML.", "Convert the table to HTML.", "Give the HTML of this table."],
            ["用HTML写出表格。", "把表格转成HTML。"]
        ),
        ["read-clock"] = (
            ["What time is it?", "What time does the clock show?", "Read the clock.", "Which time do the hands show?"],
            ["几点了？", "时钟显示几点？", "请读出时间。"]
        ),
        ["read-gauge"] = (
            [
                "What does the gauge show?",
                "Read the gauge.",
                "At which value is the needle?",
                "What is the reading of the dial?",
            ],
            ["仪表显示多少？", "指针指向多少？", "请读出仪表的数值。"]
        ),
        ["read-thermometer"] = (
            [
                "What is the temperature?",
                "Read the thermometer.",
                "How many degrees does the thermometer show?",
                "Which temperature is shown?",
            ],
            ["温度是多少？", "温度计显示多少度？", "请读出温度。"]
        ),
        ["chart-value"] = (
            [
                "What is the value of {0}?",
                "How much is {0}?",
                "Which value does {0} have?",
                "Read the value for {0} from the chart.",
            ],
            ["{0}的值是多少？", "图中{0}是多少？", "请读出{0}的数值。"]
        ),
        ["chart-largest"] = (
            [
                "Which is the highest?",
                "What has the largest value?",
                "Where is the maximum?",
                "Which label has the highest value?",
            ],
            ["哪个最高？", "哪个的值最大？", "最大值在哪里？"]
        ),
        ["chart-smallest"] = (
            [
                "Which is the lowest?",
                "What has the smallest value?",
                "Where is the minimum?",
                "Which label has the lowest value?",
            ],
            ["哪个最低？", "哪个的值最小？", "最小值在哪里？"]
        ),
        ["pie-largest"] = (
            ["Which slice is the largest?", "What colour is the largest slice?", "Which colour has the largest share?"],
            ["哪一块最大？", "最大的一块是什么颜色？", "哪种颜色占比最大？"]
        ),
        ["pie-smallest"] = (
            [
                "Which slice is the smallest?",
                "What colour is the smallest slice?",
                "Which colour has the smallest share?",
            ],
            ["哪一块最小？", "最小的一块是什么颜色？", "哪种颜色占比最小？"]
        ),
        ["pie-count"] = (
            [
                "How many slices?",
                "How many slices does the pie have?",
                "Count the slices.",
                "Into how many parts is it divided?",
            ],
            ["有几块？", "饼图有几块？", "一共分成几部分？"]
        ),
        ["form-value"] = (
            [
                "What is the {0}?",
                "What stands under {0}?",
                "Read the value of {0}.",
                "Which {0} is given?",
                "What does the form say for {0}?",
            ],
            ["{0}是什么？", "{0}一栏写着什么？", "请读出{0}的内容。"]
        ),
        ["receipt-price"] = (
            [
                "How much is the {0}?",
                "What does the {0} cost?",
                "What is the price of the {0}?",
                "How much was paid for the {0}?",
            ],
            ["{0}多少钱？", "{0}的价格是多少？", "买{0}花了多少？"]
        ),
        ["receipt-total"] = (
            ["What is the total?", "How much is it altogether?", "What is the sum?", "What has to be paid in all?"],
            ["总计多少？", "一共多少钱？", "合计是多少？"]
        ),
        ["click"] = (
            [
                "Click {0}.",
                "Where do I click for {0}?",
                "Point at {0}.",
                "Press {0}.",
                "Give the point to click on {0}.",
            ],
            ["点击{0}。", "{0}要点哪里？", "请指出{0}的点击位置。"]
        ),
        ["locate-button"] = (
            ["Where is the button {0}?", "Find the button {0}.", "Mark the {0} button."],
            ["按钮{0}在哪里？", "请框出{0}按钮。"]
        ),
        ["locate-box"] = (
            ["Where is the checkbox {0}?", "Find the checkbox for {0}.", "Mark the {0} checkbox."],
            ["复选框{0}在哪里？", "请框出{0}的复选框。"]
        ),
        ["locate-field"] = (
            ["Where is the field {0}?", "Find the field for {0}.", "Mark the {0} field."],
            ["输入框{0}在哪里？", "请框出{0}的输入框。"]
        ),
        ["state"] = (
            ["Is {0} checked?", "Is the box {0} ticked?", "Is {0} switched on?", "Has {0} been selected?"],
            ["{0}勾选了吗？", "{0}是否选中？", "{0}打开了吗？"]
        ),
        ["field"] = (
            ["What is in {0}?", "What does the field {0} contain?", "Read the field {0}.", "What was typed into {0}?"],
            ["{0}里是什么？", "{0}框中写了什么？", "请读出{0}的内容。"]
        ),
        ["film-direction"] = (
            ["Where does the circle move?", "In which direction does the circle move?", "Which way does it go?"],
            ["圆形往哪边移动？", "圆形向哪个方向移动？"]
        ),
        ["film-appear"] = (
            [
                "At which second does the circle appear?",
                "When does the circle come up?",
                "After how many seconds does something appear?",
            ],
            ["圆形在第几秒出现？", "几秒后出现了圆形？"]
        ),
        ["film-disappear"] = (
            [
                "At which second does the circle disappear?",
                "When is the circle gone?",
                "After how many seconds does the circle vanish?",
            ],
            ["圆形在第几秒消失？", "几秒后圆形不见了？"]
        ),
        ["film-change"] = (
            [
                "At which second does the colour change?",
                "When does the circle change its colour?",
                "After how many seconds is the colour another?",
            ],
            ["第几秒变色？", "圆形在几秒后改变颜色？"]
        ),
        ["film-colour"] = (
            [
                "What colour does the circle have at the end?",
                "Which colour is the circle in the last frame?",
                "What is the circle's final colour?",
            ],
            ["圆形最后是什么颜色？", "最后一帧中圆形是什么颜色？"]
        ),
        ["larger"] = (
            [
                "Which is larger, the {0} or the {1}?",
                "Is the {0} or the {1} larger?",
                "Which one is bigger: {0} or {1}?",
                "Which of the two covers more, the {0} or the {1}?",
            ],
            ["{0}和{1}哪个更大？", "哪个更大，{0}还是{1}？"]
        ),
    };

    /// <summary>A question, the fixed one or any.</summary>
    /// <param name="task">A row of the table.</param>
    /// <param name="scene">Language and style.</param>
    /// <param name="about">Strings, which become text, or parts.</param>
    public static IReadOnlyList<ExamplePart> Ask(string task, Scene scene, ReadOnlySpan<object> about)
    {
        (string[] english, string[] chinese) = All[task];
        string[] phrases = scene.IsChinese ? chinese : english;
        return Fill(scene.IsShort ? phrases[0] : scene.Random.Pick(phrases), about);
    }

    static List<ExamplePart> Fill(string phrase, ReadOnlySpan<object> about)
    {
        List<ExamplePart> parts = [];
        string text = "";
        int at = 0;
        while (phrase.IndexOf('{', at) is >= 0 and int open)
        {
            text += phrase[at..open];
            switch (about[phrase[open + 1] - '0'])
            {
                case ExamplePart part:
                    if (text.Length > 0)
                    {
                        parts.Add(new TextPart(text));
                    }

                    parts.Add(part);
                    text = "";
                    break;
                case string words:
                    text += words;
                    break;
                case var other:
                    throw new ArgumentException($"{other} is no part of a question", nameof(about));
            }

            at = open + 3;
        }

        text += phrase[at..];
        if (text.Length > 0)
        {
            parts.Add(new TextPart(text));
        }

        return parts;
    }
}
